use super::*;

fn load(texts: &[&str]) -> Result<Config, Error> {
    let layers: Vec<Layer> =
        (1..).zip(texts).map(|(nth, text)| Layer::new(format!("{nth}.toml"), *text)).collect();
    Config::from_layers(&layers)
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(load(&[]).unwrap(), Config::default());
    assert_eq!(load(&["", "[viewers]"]).unwrap(), Config::default());
}

#[test]
fn the_example_shows_the_defaults() {
    assert_eq!(load(&[EXAMPLE]).unwrap(), Config::default());
}

/// The example with the keys that are commented out.
fn whole_example() -> String {
    EXAMPLE
        .lines()
        .map(|line| {
            let key = line.strip_prefix("# ").and_then(|text| text.split_once(" = "));
            let is_key =
                key.is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            let line = if is_key { line.trim_start_matches("# ") } else { line };
            format!("{line}\n")
        })
        .collect()
}

#[test]
fn the_example_shows_every_key() {
    let example: toml::Table = whole_example().parse().unwrap();
    load(&[&whole_example()]).unwrap();
    // An unknown key's error lists the known ones.
    let keys = |table: &str| -> Vec<String> {
        let text = match table {
            "" => "unheard-of = 1".to_owned(),
            table => format!("[{table}]\nunheard-of = 1"),
        };
        let message = load(&[&text]).unwrap_err().to_string();
        let list = message.split_once("expected ").expect(&message).1;
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut seen = 0;
    for key in keys("") {
        let value = example.get(&key).unwrap_or_else(|| panic!("{key} is not in the example"));
        let Some(table) = value.as_table() else { continue };
        for inner in keys(&key) {
            assert!(table.contains_key(&inner), "{key}.{inner} is not in the example");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} keys were looked at");
}

#[test]
fn later_files_override_earlier_ones_key_by_key() {
    let config = load(&[
        "viewers = { max = 3 }\nvideo = { width = 640, height = 480 }",
        "video = { width = 320 }",
        "[network]\nadvertise = [\"203.0.113.7\"]\nudp-ports = \"50000-50015\"",
        "[network]\nadvertise = [\"2001:db8::1\"]",
    ])
    .unwrap();
    assert_eq!(config.max_viewers, 3);
    assert_eq!((config.media.video.width, config.media.video.height), (320, 480));
    let ip: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(config.network.advertise, [ip], "a list is one value");
    assert_eq!(config.network.udp_ports, Some(50000..=50015));
}

#[test]
fn an_error_names_the_file_whose_value_counts() {
    let error = load(&["viewers = { max = 1 }", "viewers = { max = 0 }", "video = {}"]);
    assert_eq!(error.unwrap_err().to_string(), "2.toml: viewers.max = 0: allowed is 1 to 1000");
    let error = load(&["[video]\nwidth = 640", "[video]\nheight = 481"]).unwrap_err().to_string();
    assert!(error.starts_with("2.toml: video.height = 481: "), "{error}");
}

#[test]
fn a_file_that_can_be_no_configuration_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peercam.toml");
    let said = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        Config::load(std::slice::from_ref(&file)).map_err(|error| error.to_string())
    };
    let comment = |length: usize| "#".repeat(length - 1) + "\n";
    said(comment(64 * 1024).as_bytes()).unwrap();
    let large = said(comment(64 * 1024 + 1).as_bytes()).unwrap_err();
    assert!(large.contains("peercam.toml: is larger than 64 KiB"), "{large}");
    // As some editors save by themselves: with a byte order mark, and in UTF-16.
    said(b"\xef\xbb\xbf[viewers]\r\nmax = 3\r\n").unwrap();
    let strange = said(b"\xff\xfe[\0v\0").unwrap_err();
    assert!(strange.contains("peercam.toml: is no text in UTF-8"), "{strange}");
    let endless = Config::load(&["/dev/zero".into()]).unwrap_err().to_string();
    assert!(endless.contains("/dev/zero: is larger than 64 KiB"), "{endless}");
}

#[test]
fn the_settings_that_are_shown_to_people_are_a_configuration() {
    let text = include_str!("../../../../docs/first-boot.md");
    let (_, text) = text.split_once("```toml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let config = load(&[text]).unwrap();
    assert_eq!(config.device.name.as_deref(), Some("front-door"));
    assert_eq!((config.servers.len(), config.access.owner_keys.len()), (1, 1));
}
