//! `watchdog.toml` with mistakes in it.
//!
//! - Every problem is one line.
//! - Services that are left have names of their own, and start after services before them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peercam_watchdog::config::Config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text, "file") {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    for refusal in &config.refusals {
        assert!(!refusal.problem.contains('\n'), "{}", refusal.problem);
    }
    let names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    for (index, service) in config.services.iter().enumerate() {
        let before = &names[..index];
        assert!(!before.contains(&service.name.as_str()));
        assert!(service.after.iter().all(|name| before.contains(&name.as_str())));
    }
    assert!(!names.is_empty() || !config.refusals.is_empty());
});
