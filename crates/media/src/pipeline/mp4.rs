//! Reading as much of ISO base media files (ISO/IEC 14496-12) as it takes to know what is in a
//! chunk: the muxer says it nowhere else.

/// What an initialisation segment (`ftyp`, `moov`) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracks {
    pub video: Track,
    pub audio: Option<Track>,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    pub id: u32,
    /// Ticks in a second.
    pub timescale: u32,
    /// RFC 6381 codecs string.
    pub codec: String,
}

/// The first video sample of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Presentation time in ticks of the track.
    pub pts: u64,
    /// Whether decoding can begin with it.
    pub sync: bool,
}

/// A cursor over big-endian fields; every read may run out.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Version and flags of a full box.
    fn version(&mut self) -> Option<(u8, u32)> {
        self.u32().map(|word| ((word >> 24) as u8, word & 0x00ff_ffff))
    }
}

/// The boxes in `data`, one after the other: type and content.
fn boxes(mut data: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let mut fields = Fields(data);
        let size = usize::try_from(fields.u32()?).ok()?;
        let kind = fields.bytes(4)?;
        let content = fields.bytes(size.checked_sub(8)?)?;
        data = fields.0;
        Some((kind, content))
    })
}

/// The content of the first box at the end of a path of box types.
fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(data, |data, kind| {
        boxes(data).find(|(found, _)| found == kind).map(|(_, content)| content)
    })
}

/// Reads an initialisation segment; `None` if there is no H.264 track in it.
pub(crate) fn tracks(init: &[u8]) -> Option<Tracks> {
    let moov = find(init, &[b"moov"])?;
    let mut video = None;
    let mut audio = None;
    for (_, trak) in boxes(moov).filter(|(kind, _)| *kind == b"trak") {
        let id = {
            let mut tkhd = Fields(find(trak, &[b"tkhd"])?);
            let (version, _) = tkhd.version()?;
            tkhd.bytes(if version == 1 { 16 } else { 8 })?;
            tkhd.u32()?
        };
        let timescale = {
            let mut mdhd = Fields(find(trak, &[b"mdia", b"mdhd"])?);
            let (version, _) = mdhd.version()?;
            mdhd.bytes(if version == 1 { 16 } else { 8 })?;
            mdhd.u32().filter(|timescale| *timescale > 0)?
        };
        let stsd = find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])?;
        // Version, flags and a count stand before the sample entries.
        let (kind, entry) = boxes(stsd.get(8..)?).next()?;
        match kind {
            b"avc1" | b"avc3" => {
                // 78 bytes of VisualSampleEntry (§12.1.3).
                let avcc = find(entry.get(78..)?, &[b"avcC"])?;
                let [_, profile, constraints, level, ..] = *avcc else { return None };
                let kind = std::str::from_utf8(kind).ok()?;
                let codec = format!("{kind}.{profile:02x}{constraints:02x}{level:02x}");
                video = Some(Track { id, timescale, codec });
            }
            // AAC-LC is the only thing `voaacenc` makes.
            b"mp4a" => audio = Some(Track { id, timescale, codec: "mp4a.40.2".to_owned() }),
            _ => {}
        }
    }
    Some(Tracks { video: video?, audio })
}

/// The first sample of track `id` in a chunk; `None` if it holds none.
pub(crate) fn first_sample(chunk: &[u8], id: u32) -> Option<Sample> {
    let moof = find(chunk, &[b"moof"])?;
    boxes(moof)
        .filter(|(kind, _)| *kind == b"traf")
        .find_map(|(_, traf)| first_sample_of_run(traf, id))
}

fn first_sample_of_run(traf: &[u8], id: u32) -> Option<Sample> {
    let mut tfhd = Fields(find(traf, &[b"tfhd"])?);
    let (_, flags) = tfhd.version()?;
    if tfhd.u32()? != id {
        return None;
    }
    // Optional fields stand in the order of their flags (§8.8.7).
    for (flag, size) in [(0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4)] {
        if flags & flag != 0 {
            tfhd.bytes(size)?;
        }
    }
    let default_flags = if flags & 0x20 != 0 { tfhd.u32()? } else { 0 };

    let mut tfdt = Fields(find(traf, &[b"tfdt"])?);
    let decode_time = if tfdt.version()?.0 == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };

    let mut trun = Fields(find(traf, &[b"trun"])?);
    let (_, flags) = trun.version()?;
    let has = |flag| flags & flag != 0;
    if trun.u32()? == 0 {
        return None;
    }
    if has(0x1) {
        trun.u32()?;
    }
    let mut sample_flags = if has(0x4) { trun.u32()? } else { default_flags };
    if has(0x100) {
        trun.u32()?;
    }
    if has(0x200) {
        trun.u32()?;
    }
    if has(0x400) {
        sample_flags = trun.u32()?;
    }
    // Signed in version 1 (§8.8.8); negative ones belong to B-frames, which there are none of.
    let offset = if has(0x800) { trun.u32()? as i32 } else { 0 };
    Some(Sample {
        pts: decode_time.saturating_add_signed(offset.into()),
        // sample_is_non_sync_sample
        sync: sample_flags & 0x0001_0000 == 0,
    })
}

/// Splits off the initialisation segment at the beginning of `data`; empty if there is none.
pub(crate) fn split_init(mut data: bytes::Bytes) -> (bytes::Bytes, bytes::Bytes) {
    let is_init = |kind: &[u8]| matches!(kind, b"ftyp" | b"moov" | b"free");
    let length = boxes(&data)
        .take_while(|(kind, _)| is_init(kind))
        .map(|(_, content)| content.len() + 8)
        .sum();
    let init = data.split_to(length);
    (init, data)
}
