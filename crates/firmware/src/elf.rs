//! What an ELF file needs to run: libraries, where to look for them, the dynamic linker.

use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, elf};

/// The dynamic section of a program or library, as far as loading it is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// `DT_NEEDED`, in order.
    pub libraries: Vec<String>,
    /// `DT_RUNPATH` or `DT_RPATH`, split at colons; may hold `$ORIGIN`.
    pub run_path: Vec<String>,
    /// `PT_INTERP`: the dynamic linker, programs only.
    pub interpreter: Option<String>,
    /// The machine, `e_machine`.
    pub machine: u16,
}

/// Reads what `data` needs; `None` when it is not an ELF file at all.
///
/// # Errors
/// A sentence when it is one but damaged.
pub fn needs(data: &[u8]) -> Result<Option<Needs>, String> {
    if !data.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    let parsed = match FileKind::parse(data) {
        Ok(FileKind::Elf32) => read::<elf::FileHeader32<Endianness>>(data),
        Ok(FileKind::Elf64) => read::<elf::FileHeader64<Endianness>>(data),
        Ok(other) => return Err(format!("an ELF file was expected, not {other:?}")),
        Err(error) => return Err(format!("damaged ELF file: {error}")),
    };
    parsed.map(Some).map_err(|error| format!("damaged ELF file: {error}"))
}

fn read<Elf: FileHeader<Endian = Endianness>>(
    data: &[u8],
) -> Result<Needs, Box<dyn std::error::Error>> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut needs = Needs { machine: header.e_machine(endian), ..Needs::default() };
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            needs.interpreter = Some(text(path));
        }
        let Some(entries) = segment.dynamic(endian, data)? else { continue };

        // The string table is given by its address in memory; the segment that is loaded
        // there says where it lies in the file.
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry.tag32(endian) == Some(tag))
                .map(|entry| entry.d_val(endian).into())
        };
        let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let strings = segments
            .iter()
            .find_map(|segment| segment.data_range(endian, data, address, size).ok().flatten())
            .ok_or("no segment holds the string table")?;
        let strings = object::StringTable::new(strings, 0, strings.len() as u64);
        for entry in entries {
            let Some(tag @ (elf::DT_NEEDED | elf::DT_RUNPATH | elf::DT_RPATH)) =
                entry.tag32(endian)
            else {
                continue;
            };
            let string = entry.string(endian, strings).map(text)?;
            match tag {
                elf::DT_NEEDED => needs.libraries.push(string),
                _ => needs.run_path.extend(string.split(':').map(str::to_owned)),
            }
        }
    }
    Ok(needs)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
