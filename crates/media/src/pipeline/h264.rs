//! Looking into H.264 byte streams (ITU-T H.264 Annex B).

/// The NAL units of an access unit, without their start codes.
pub(crate) fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let unit = rest?;
        rest = after_start_code(unit);
        let end = rest.map_or(unit.len(), |next| unit.len() - next.len() - 3);
        // The zero byte of a four-byte start code, and trailing zeros, belong to nobody.
        let end = unit[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
}

/// What follows the first start code.
fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    let at = data.windows(3).position(|window| window == [0, 0, 1])?;
    data.get(at + 3..)
}

/// The RFC 6381 codecs string of the stream, from the sequence parameter set of a key frame.
pub(crate) fn codec(access_unit: &[u8]) -> Option<String> {
    const SPS: u8 = 7;
    nal_units(access_unit).find_map(|unit| match unit {
        [header, profile, constraints, level, ..] if header & 0x1f == SPS => {
            Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_are_found_behind_both_kinds_of_start_code() {
        let data = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0, 0, 0, 1, 0x65, 5, 0];
        let units: Vec<_> = nal_units(&data).collect();
        assert_eq!(units, [&[9, 0xf0][..], &[0x67, 0x42, 0xc0, 0x1f], &[0x65, 5]]);
    }

    #[test]
    fn the_codecs_string_comes_from_the_sequence_parameter_set() {
        let key = [0, 0, 1, 9, 0x10, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0xaa];
        assert_eq!(codec(&key).as_deref(), Some("avc1.42c01f"));
        assert_eq!(codec(&[0, 0, 1, 0x41, 1, 2, 3]), None);
        assert_eq!(codec(&[0, 0, 1, 0x67]), None);
        assert_eq!(codec(&[]), None);
    }
}
