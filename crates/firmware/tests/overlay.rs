//! The files that are laid over every root: as they are, and safe to ship.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use peercam_firmware::hash;

/// Every file of the overlays, with the overlay it is in.
fn files() -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut overlays = vec![root.join("rootfs-overlay")];
    for entry in std::fs::read_dir(root.join("board")).unwrap() {
        overlays.push(entry.unwrap().path().join("overlay"));
    }
    overlays.retain(|overlay| overlay.is_dir());
    let inside = |overlay: PathBuf| {
        let files = hash::tree(&overlay).unwrap().into_iter();
        files.filter(|path| path.is_file()).map(move |path| (overlay.clone(), path))
    };
    overlays.into_iter().flat_map(inside).collect()
}

fn shared(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay");
    std::fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn what_can_be_executed_is_a_script_that_the_shell_can_read() {
    let mut scripts = 0;
    for (_, path) in files() {
        let executable = path.metadata().unwrap().permissions().mode() & 0o111 != 0;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(executable, text.starts_with("#!/bin/sh\n"), "{}", path.display());
        let sourced =
            path.parent().unwrap().ends_with("etc/init.d") || path.ends_with("etc/profile");
        if executable || sourced {
            scripts += 1;
            let checked = Command::new("sh").arg("-n").arg(&path).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    assert!(scripts >= 5, "{scripts}");
}

#[test]
fn no_file_has_a_blank_to_be_filled_in() {
    for (_, path) in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("@command-line@") && !text.contains("{{"), "{}", path.display());
    }
}

#[test]
fn no_account_can_be_opened_with_a_password() {
    for line in shared("etc/shadow").lines() {
        let password = line.split(':').nth(1).unwrap();
        assert!(password.starts_with(['*', '!']), "{line}");
    }
    for line in shared("etc/passwd").lines() {
        assert_eq!(line.split(':').nth(1), Some("x"), "{line}");
    }
}

#[test]
fn only_root_has_a_shell() {
    for line in shared("etc/passwd").lines() {
        let fields: Vec<_> = line.split(':').collect();
        assert_eq!(fields[6] == "/bin/sh", fields[0] == "root", "{line}");
    }
}

#[test]
fn the_agent_may_use_cameras_and_sound_cards() {
    let groups = shared("etc/group");
    for group in ["audio", "video"] {
        let line = groups.lines().find(|line| line.starts_with(&format!("{group}:"))).unwrap();
        assert!(line.ends_with(":peercam"), "{line}");
    }
}

#[test]
fn nothing_lies_in_a_folder_that_is_a_link_in_the_root() {
    for (overlay, path) in files() {
        let inside = path.strip_prefix(&overlay).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        assert!(["etc", "usr"].contains(&first), "{}", path.display());
    }
}
