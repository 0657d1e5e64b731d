//! QR codes (ISO/IEC 18004) in a terminal: two modules a character, one above the other.

use qrcode::{Color, EcLevel, QrCode, Version, bits::Bits, types::QrError};

/// Light modules around the code. The standard asks for 4; terminals are narrow and phones content.
const QUIET: usize = 2;

/// How wide the terminal is, if there is one.
pub fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stderr())?;
    Some(width.0.into())
}

/// The smallest code for `text`, all of it as bytes: a link gains nothing by the other modes, and its
/// length alone says how large the code is.
fn encode(text: &str) -> Result<QrCode, QrError> {
    let of_version = |version| {
        let mut bits = Bits::new(Version::Normal(version));
        bits.push_byte_data(text.as_bytes())?;
        bits.push_terminator(EcLevel::L)?;
        QrCode::with_bits(bits, EcLevel::L)
    };
    let mut codes = (1..=40).map(of_version);
    codes
        .find(|code| !matches!(code, Err(QrError::DataTooLong)))
        .unwrap_or(Err(QrError::DataTooLong))
}

/// The code for `text`, dark on light whatever the terminal's colours are.
///
/// # Errors
///
/// In words, where it is too much for a code, or wider than `columns`.
pub fn draw(text: &str, columns: Option<usize>) -> Result<String, String> {
    let code = encode(text)
        .map_err(|error| format!("{} characters are too many ({error})", text.len()))?;
    let size = code.width();
    let width = size + 2 * QUIET;
    if let Some(columns) = columns.filter(|columns| *columns < width) {
        return Err(format!(
            "it is {width} characters wide and this terminal {columns}: make it wider, or the \
             letters smaller"
        ));
    }
    let colors = code.to_colors();
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| (QUIET..QUIET + size).contains(&at);
        inside(x) && inside(y) && colors[(y - QUIET) * size + x - QUIET] == Color::Dark
    };
    let mut picture = String::new();
    for y in (0..width).step_by(2) {
        // Black on white (ECMA-48 SGR, 256 colours): a theme may have made other things of 0 and 7.
        picture.push_str("\x1b[38;5;16;48;5;231m");
        for x in 0..width {
            picture.push(match (dark(x, y), dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        picture.push_str("\x1b[0m\n");
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use peercam_agent::{
        access::{Signer, Terms, mint},
        share::{Place, shared},
    };
    use peercam_protocol::{Action, RoomId, SecretKey};

    use super::*;

    /// The width of the code for a link by which somebody may watch for a day, many times or once,
    /// whichever is wider.
    fn width(signer: Signer<'_>, origin: &str, room: &RoomId, camera: &SecretKey) -> usize {
        let widths = [false, true].map(|once| width_of(signer, origin, room, camera, once));
        widths.into_iter().max().unwrap()
    }

    fn width_of(
        signer: Signer<'_>,
        origin: &str,
        room: &RoomId,
        camera: &SecretKey,
        once: bool,
    ) -> usize {
        let terms = Terms {
            room: room.clone(),
            actions: BTreeSet::from([Action::Watch]),
            valid_for: Duration::from_secs(24 * 3600),
            not_before: None,
            once,
            bearer: false,
        };
        let minted = mint(signer, &terms, 1_800_000_000).unwrap();
        let place = Place { origin: origin.to_owned(), room: room.clone() };
        let link = shared(place.link().unwrap(), camera.public(), minted).link;
        let picture = draw(&link, None).unwrap();
        let width = modules(&picture)[0].len();
        println!("{width} columns for the {} bytes of {link}", link.len());
        width
    }

    #[test]
    fn a_cameras_link_fits_a_terminal() {
        let [camera, owner] = [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]));
        let own = RoomId::from_public_key(camera.public().as_bytes());
        let garden: RoomId = "garden".parse().unwrap();
        // What the help of `share` says.
        let origin = "https://camera.example.org";
        assert_eq!(origin.len(), 26);
        for room in [&own, &garden] {
            assert_eq!(width(Signer::Camera(&camera), origin, room, &camera), 77);
        }
        // An owner's names him and the room.
        assert_eq!(width(Signer::Owner(&owner), origin, &own, &camera), 85);
    }

    /// The modules, read back from the characters.
    fn modules(picture: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in picture.lines() {
            let line = line.strip_prefix("\x1b[38;5;16;48;5;231m").unwrap();
            let line = line.strip_suffix("\x1b[0m").unwrap();
            rows.push(line.chars().map(|c| "█▀".contains(c)).collect());
            rows.push(line.chars().map(|c| "█▄".contains(c)).collect());
        }
        rows
    }

    #[test]
    fn the_picture_is_the_code_with_light_around_it() {
        let text = "https://cam.example.org/r/garden#k=x";
        let rows = modules(&draw(text, None).unwrap());
        let code = encode(text).unwrap();
        let size = code.width();
        let width = size + 2 * QUIET;
        assert!(rows.iter().all(|row| row.len() == width), "square but for the last row");
        for (y, row) in rows.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let inside = |at: usize| (QUIET..QUIET + size).contains(&at);
                let expected =
                    inside(x) && inside(y) && code[(x - QUIET, y - QUIET)] == Color::Dark;
                assert_eq!(*dark, expected, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_terminal_that_is_too_narrow_is_told_so() {
        let link = "x".repeat(750);
        let error = draw(&link, Some(80)).unwrap_err();
        assert!(error.contains("80"), "{error}");
        assert!(draw(&link, Some(120)).is_ok());
        assert!(draw(&"x".repeat(5000), None).is_err());
    }
}
