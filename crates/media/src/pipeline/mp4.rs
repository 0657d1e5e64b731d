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

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, &content].concat()
    }

    fn track(id: u32, timescale: u32, entry: &[u8]) -> Vec<u8> {
        let tkhd = boxed(b"tkhd", &[&[0; 12], &id.to_be_bytes(), &[0; 68]]);
        let mdhd = boxed(b"mdhd", &[&[0; 12], &timescale.to_be_bytes(), &[0; 8]]);
        let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], entry]);
        let minf = boxed(b"minf", &[&boxed(b"stbl", &[&stsd])]);
        boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &minf])])
    }

    fn init() -> Vec<u8> {
        let avcc = boxed(b"avcC", &[&[1, 0x42, 0xc0, 0x1f, 0xff]]);
        let video = track(1, 3000, &boxed(b"avc1", &[&[0; 78], &avcc]));
        let audio = track(2, 48_000, &boxed(b"mp4a", &[&[0; 28]]));
        [boxed(b"ftyp", &[b"iso6"]), boxed(b"moov", &[&video, &audio])].concat()
    }

    /// Track 2 with nothing of interest, then track 1: default flags "no sync sample" in `tfhd`
    /// (behind a default duration), a 64-bit `tfdt`, and a `trun` with flags of the first sample.
    fn chunk(first_sample_flags: Option<u32>) -> Vec<u8> {
        let audio = boxed(b"traf", &[&boxed(b"tfhd", &[&[0; 4], &2u32.to_be_bytes()])]);
        let tfhd = boxed(b"tfhd", &[&[0, 0, 0, 0x28, 0, 0, 0, 1, 0, 0, 0, 100, 1, 1, 0, 0]]);
        let tfdt = boxed(b"tfdt", &[&[1, 0, 0, 0], &6_000_000_000u64.to_be_bytes()]);
        let flags = first_sample_flags.map_or(0, |_| 4) | 0x801u32;
        let first = first_sample_flags.map_or(vec![], |flags| flags.to_be_bytes().to_vec());
        let trun = boxed(
            b"trun",
            &[&flags.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 9], &first, &7u32.to_be_bytes()],
        );
        let video = boxed(b"traf", &[&tfhd, &tfdt, &trun]);
        [boxed(b"moof", &[&audio, &video]), boxed(b"mdat", &[&[0; 9]])].concat()
    }

    #[test]
    fn an_initialisation_segment_says_what_is_in_it() {
        let tracks = tracks(&init()).unwrap();
        let video = Track { id: 1, timescale: 3000, codec: "avc1.42c01f".to_owned() };
        let audio = Track { id: 2, timescale: 48_000, codec: "mp4a.40.2".to_owned() };
        assert_eq!(tracks, Tracks { video, audio: Some(audio) });
    }

    #[test]
    fn a_chunk_says_when_its_picture_is_shown_and_whether_it_is_a_key_frame() {
        let sample = |chunk: &[u8]| first_sample(chunk, 1).unwrap();
        let pts = 6_000_000_007;
        assert_eq!(sample(&chunk(None)), Sample { pts, sync: false });
        assert_eq!(sample(&chunk(Some(0x0200_0000))), Sample { pts, sync: true });
        assert_eq!(first_sample(&chunk(None), 3), None);
    }

    #[test]
    fn the_initialisation_segment_is_split_off() {
        let both = bytes::Bytes::from([init(), chunk(None)].concat());
        let (head, tail) = split_init(both);
        assert_eq!((head.as_ref(), tail.as_ref()), (&init()[..], &chunk(None)[..]));
        let (head, tail) = split_init(chunk(None).into());
        assert!(head.is_empty() && tail == chunk(None));
    }

    #[test]
    fn cut_or_broken_files_are_refused_without_a_panic() {
        for whole in [init(), chunk(Some(0))] {
            for length in 0..whole.len() {
                let _ = tracks(&whole[..length]);
                let _ = first_sample(&whole[..length], 1);
                let _ = split_init(whole[..length].to_vec().into());
                let mut broken = whole.clone();
                broken[length] ^= 0xff;
                let _ = tracks(&broken);
                let _ = first_sample(&broken, 1);
                let _ = split_init(broken.into());
            }
        }
    }
}
