//! What the kernel tells about a disk, in sysfs and `/proc`: what it is, and who uses it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::hash::at;
use crate::size::Size;

/// Where a running system is mounted from.
const SYSTEM: [&str; 6] = ["/", "/usr", "/etc", "/var", "/boot", "/boot/efi"];
/// Disks upon disks upon disks: more layers than anybody has.
const MOST_LAYERS: usize = 16;

/// The kernel's files; others in tests.
#[derive(Debug, Clone)]
pub struct Kernel {
    sys: PathBuf,
    proc: PathBuf,
}

/// A block device's number, major and minor.
pub type Number = (u64, u64);

/// What a device number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A whole disk.
    Disk(Disk),
    /// A partition of the disk of that name.
    PartitionOf(String),
}

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The kernel's name: `sdb`, `mmcblk0`.
    pub name: String,
    /// Its size in bytes; 0 without a medium.
    pub bytes: u64,
    /// The size of a sector in bytes: what its partition table counts in.
    pub sector_bytes: u64,
    /// Whether it can't be written.
    pub read_only: bool,
    /// Whether it can be taken out without opening a case: the kernel says so, or it is an SD
    /// card (of which a reader on the mainboard says it could not).
    pub removable: bool,
    /// What it is attached to: `usb`, `mmc`, `nvme`, `ata`, `scsi`, `virtio`.
    pub bus: Option<String>,
    /// The maker's name.
    pub vendor: Option<String>,
    /// The model's name.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The names of its partitions as the kernel sees them now: `sdb1`.
    pub partitions: Vec<String>,
    /// Its number, major and minor.
    #[serde(skip)]
    pub number: Number,
    #[serde(skip)]
    folder: PathBuf,
}

/// Something that uses a disk or one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Use {
    /// The device: `sdb1`.
    pub device: String,
    /// Where it is mounted; the device built upon it.
    pub by: String,
}

#[derive(Debug)]
struct Mount {
    number: Option<Number>,
    source: Option<String>,
    point: String,
}

impl Kernel {
    /// The running kernel's.
    #[must_use]
    pub fn running() -> Self {
        Self::at(Path::new("/sys"), Path::new("/proc"))
    }

    /// Files elsewhere that look like sysfs and `/proc`.
    #[must_use]
    pub fn at(sys: &Path, proc: &Path) -> Self {
        Self { sys: sys.to_owned(), proc: proc.to_owned() }
    }

    /// What a block device is.
    ///
    /// # Errors
    /// When sysfs does not know it.
    pub fn node(&self, number: Number) -> io::Result<Node> {
        let folder = self.folder(number)?;
        if folder.join("partition").exists() {
            return Ok(Node::PartitionOf(name(folder.parent().unwrap_or(&folder))));
        }
        let sectors: u64 = value(&folder, "size").unwrap_or(0);
        let device = folder.join("device");
        let bus = bus(&folder);
        let (vendor, model, serial) = identity(&folder, bus.as_deref());
        Ok(Node::Disk(Disk {
            name: name(&folder),
            // sysfs counts in 512 bytes, whatever the disk's own sectors are.
            bytes: sectors.saturating_mul(512),
            sector_bytes: value(&folder, "queue/logical_block_size").unwrap_or(512),
            read_only: value(&folder, "ro") == Some(1_u8),
            removable: value(&folder, "removable") == Some(1_u8)
                || text(&device, "type").as_deref() == Some("SD"),
            bus,
            vendor,
            model,
            serial,
            partitions: partitions(&folder)?,
            number,
            folder,
        }))
    }

    fn folder(&self, (major, minor): Number) -> io::Result<PathBuf> {
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        std::fs::canonicalize(&link).map_err(|error| at(&link, error))
    }

    /// Where the disk and its partitions are mounted.
    ///
    /// # Errors
    /// When the kernel's list can't be read: then nothing is known.
    pub fn mounts(&self, disk: &Disk) -> io::Result<Vec<Use>> {
        let mut found = BTreeSet::new();
        for mount in self.all_mounts()? {
            let by_number = mount.number.and_then(|number| disk.device_of(number));
            // File systems over several disks have a number of their own.
            let by_source = mount.source.filter(|source| disk.devices().any(|d| d == *source));
            if let Some(device) = by_number.or(by_source) {
                found.insert(Use { device, by: mount.point });
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Which of its devices, or whether the file at `path`, is swapped to.
    ///
    /// # Errors
    /// When the kernel's list can't be read.
    pub fn swaps(&self, disk: Option<&Disk>, path: &Path) -> io::Result<Vec<Use>> {
        let list = self.proc.join("swaps");
        let text = match std::fs::read_to_string(&list) {
            Ok(text) => text,
            // The kernel was built without swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(at(&list, error)),
        };
        let used = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        Ok(used
            .map(unescape)
            .filter(|used| {
                let device = device_name(used);
                Path::new(used) == path
                    || disk.is_some_and(|disk| disk.devices().any(|known| device == Some(known)))
            })
            .map(|used| Use { device: used, by: "swap".to_owned() })
            .collect())
    }

    /// The devices that are built upon it: device mapper (LVM, encryption), RAID.
    ///
    /// # Errors
    /// When sysfs can't be read.
    pub fn holders(&self, disk: &Disk) -> io::Result<Vec<Use>> {
        let mut found = Vec::new();
        let folders = disk.partitions.iter().map(|partition| disk.folder.join(partition));
        for folder in std::iter::once(disk.folder.clone()).chain(folders) {
            for holder in entries(&folder.join("holders"))? {
                found.push(Use { device: name(&folder), by: holder });
            }
        }
        found.sort();
        Ok(found)
    }

    /// The loop devices that read from the file or device at `path`.
    ///
    /// # Errors
    /// When sysfs can't be read.
    pub fn loops(&self, path: &Path) -> io::Result<Vec<Use>> {
        let block = self.sys.join("block");
        let devices = entries(&block)?.into_iter().filter(|device| {
            let backing = text(&block.join(device), "loop/backing_file");
            backing.is_some_and(|backing| Path::new(&backing) == path)
        });
        Ok(devices.map(|by| Use { device: path.display().to_string(), by }).collect())
    }

    /// What of the running system is on this disk, through all layers between: `/`, `/boot`.
    ///
    /// # Errors
    /// When the kernel's list can't be read.
    pub fn system_mount(&self, disk: &Disk) -> io::Result<Option<String>> {
        let mounts = self.all_mounts()?;
        let mut system = mounts.iter().filter(|mount| SYSTEM.contains(&mount.point.as_str()));
        Ok(system
            .find(|mount| {
                let folder = mount.number.and_then(|number| self.folder(number).ok());
                folder.is_some_and(|folder| self.lies_on(&folder, disk, MOST_LAYERS))
            })
            .map(|mount| mount.point.clone()))
    }

    /// Whether a device is the disk, a partition of it, or built upon one of these.
    fn lies_on(&self, device: &Path, disk: &Disk, layers: usize) -> bool {
        if device == disk.folder || device.parent() == Some(&disk.folder) {
            return true;
        }
        let slaves = device.join("slaves");
        layers > 0
            && entries(&slaves).unwrap_or_default().iter().any(|slave| {
                std::fs::canonicalize(slaves.join(slave))
                    .is_ok_and(|below| self.lies_on(&below, disk, layers - 1))
            })
    }

    /// `/proc/self/mountinfo` (proc(5)).
    fn all_mounts(&self) -> io::Result<Vec<Mount>> {
        let list = self.proc.join("self/mountinfo");
        let text = std::fs::read_to_string(&list).map_err(|error| at(&list, error))?;
        let mount = |line: &str| {
            let (own, rest) = line.split_once(" - ")?;
            let mut own = own.split(' ');
            let number = own.nth(2).and_then(|number| {
                let (major, minor) = number.split_once(':')?;
                Some((major.parse().ok()?, minor.parse().ok()?))
            });
            let point = unescape(own.nth(1)?);
            let source = rest.split(' ').nth(1).map(unescape);
            Some(Mount { number, source: source.as_deref().and_then(device_name), point })
        };
        Ok(text.lines().filter_map(mount).collect())
    }
}

impl Disk {
    /// The disk's own name and those of its partitions.
    fn devices(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.name.clone()).chain(self.partitions.clone())
    }

    /// Which of the disk's devices has that number.
    fn device_of(&self, number: Number) -> Option<String> {
        let (major, minor) = number;
        let wanted = format!("{major}:{minor}");
        let is = |folder: &Path| text(folder, "dev").is_some_and(|number| number == wanted);
        if is(&self.folder) {
            return Some(self.name.clone());
        }
        self.partitions.iter().find(|partition| is(&self.folder.join(partition))).cloned()
    }

    /// Maker, model, size and bus, for people: `SanDisk Ultra, 31.9 GB, usb, serial 4C53`.
    #[must_use]
    pub fn words(&self) -> String {
        let named = [self.vendor.as_deref(), self.model.as_deref()];
        let named = named.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let named = if named.is_empty() { "no model name".to_owned() } else { named };
        let fixed = if self.removable { "removable" } else { "not removable" };
        let mut words = vec![named, Size::bytes(self.bytes).to_string()];
        words.extend(self.bus.clone());
        words.push(fixed.to_owned());
        words.extend(self.serial.as_ref().map(|serial| format!("serial {serial}")));
        words.join(", ")
    }
}

fn partitions(folder: &Path) -> io::Result<Vec<String>> {
    let all = entries(folder)?.into_iter();
    Ok(all.filter(|entry| folder.join(entry).join("partition").exists()).collect())
}

/// The nearest bus up the line that says something to people. A USB stick is a SCSI disk, too.
fn bus(folder: &Path) -> Option<String> {
    let subsystems: Vec<String> = folder
        .ancestors()
        .chain(std::fs::canonicalize(folder.join("device")).ok().iter().flat_map(|d| d.ancestors()))
        .filter_map(|ancestor| std::fs::canonicalize(ancestor.join("subsystem")).ok())
        .map(|subsystem| name(&subsystem))
        .collect();
    let known = ["usb", "mmc", "nvme", "virtio", "scsi"];
    let found = known.into_iter().find(|bus| subsystems.iter().any(|found| found == bus))?;
    let ata = found == "scsi" && folder.components().any(|part| is_ata(part.as_os_str()));
    Some(if ata { "ata" } else { found }.to_owned())
}

/// `ata1`, a port of a SATA controller.
fn is_ata(component: &std::ffi::OsStr) -> bool {
    component
        .to_str()
        .and_then(|name| name.strip_prefix("ata"))
        .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

type Identity = (Option<String>, Option<String>, Option<String>);

/// Maker, model and serial number, in the files that the bus's driver has them in.
fn identity(folder: &Path, bus: Option<&str>) -> Identity {
    let device = folder.join("device");
    if bus == Some("usb") {
        // The stick itself is the nearest device up the line with a USB vendor's number.
        let stick = folder.ancestors().find(|ancestor| ancestor.join("idVendor").exists());
        let of = |file: &str| stick.and_then(|stick| text(stick, file));
        let (vendor, model) = (of("manufacturer"), of("product"));
        return (
            vendor.or_else(|| text(&device, "vendor")),
            model.or_else(|| text(&device, "model")),
            of("serial"),
        );
    }
    let backing = || text(folder, "loop/backing_file").map(|file| format!("loop on {file}"));
    (
        text(&device, "vendor").filter(|vendor| !vendor.starts_with("0x")),
        text(&device, "model").or_else(|| text(&device, "name")).or_else(backing),
        text(&device, "serial").or_else(|| text(folder, "serial")),
    )
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The kernel's name of the device at a path, behind links such as `/dev/disk/by-label/…`.
fn device_name(path: &str) -> Option<String> {
    let path = Path::new(path);
    path.starts_with("/dev")
        .then(|| name(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())))
}

/// The names in a folder, sorted; none where there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| at(folder, error))?.file_name().to_string_lossy().into());
    }
    names.sort();
    Ok(names)
}

/// The first line of a file, if there is one with something in it. What a device says about
/// itself is shown to people: control characters are left out.
fn text(folder: &Path, file: &str) -> Option<String> {
    let bytes = std::fs::read(folder.join(file)).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line: String = text.lines().next()?.chars().filter(|c| !c.is_control()).collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn value<T: std::str::FromStr>(folder: &Path, file: &str) -> Option<T> {
    text(folder, file)?.parse().ok()
}

/// Blanks and the like are written as `\040` in the kernel's lists.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
