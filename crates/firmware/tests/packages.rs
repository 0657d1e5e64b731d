//! Packages from an archive: fetched, checked against the index, unpacked. The archive is a
//! folder here; everything else is real: apt, its index, dpkg's packages.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::mirror::Mirror;
use peercam_firmware::debian::{Archive, Error, Pool};
use peercam_firmware::progress::Progress;

/// Brings packages into a new pool; returns the contents of the file of the first.
fn fetch(archive: &Archive, names: &[&str], file: &str) -> Result<String, Error> {
    let step = Progress::silent().step("test");
    let mut pool = Pool::new(archive, &step);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    pool.require(&names, "a test")?;
    let path = pool.get(&names[0]).unwrap().folder.join(file);
    Ok(std::fs::read_to_string(path).unwrap())
}

fn overwrite(path: &Path) {
    let length = path.metadata().unwrap().len();
    std::fs::write(path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
}

#[test]
fn a_package_is_fetched_and_unpacked() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    assert_eq!(fetch(&mirror.open(), &["busybox"], "usr/bin/busybox").unwrap(), "busybox");
}

#[test]
fn what_is_unpacked_is_used_again_without_the_archive() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    let archive = mirror.open();
    fetch(&archive, &["busybox"], "usr/bin/busybox").unwrap();
    std::fs::remove_file(mirror.deb("busybox")).unwrap();
    assert_eq!(fetch(&archive, &["busybox"], "usr/bin/busybox").unwrap(), "busybox");
}

#[test]
fn a_package_that_is_not_what_the_index_says_stops_the_build_by_name() {
    let mirror = Mirror::new().package("good", "", "a").package("bad", "", "a");
    let archive = mirror.open();
    overwrite(&mirror.deb("bad"));
    let error = fetch(&archive, &["good", "bad"], "a").unwrap_err();
    assert!(error.may_be_stale());
    let error = error.to_string();
    assert!(error.starts_with("the package bad 1:2.0-1"), "{error}");
}

#[test]
fn a_package_that_the_archive_lost_stops_the_build_by_name() {
    let mirror = Mirror::new().package("good", "", "a").package("lost", "", "a");
    let archive = mirror.open();
    std::fs::remove_file(mirror.deb("lost")).unwrap();
    let error = fetch(&archive, &["good", "lost"], "a").unwrap_err().to_string();
    assert!(error.starts_with("the package lost 1:2.0-1 could not be downloaded"), "{error}");
}

#[test]
fn a_damaged_file_in_the_cache_is_replaced_and_never_unpacked() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    let archive = mirror.open();
    let cached = mirror.cache().join("debs/busybox_1%3a2.0-1_arm64.deb");
    std::fs::write(&cached, "half a packa").unwrap();
    assert_eq!(fetch(&archive, &["busybox"], "usr/bin/busybox").unwrap(), "busybox");
}

#[test]
fn a_damaged_file_in_the_cache_that_can_not_be_replaced_stops_the_build_by_name() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    let archive = mirror.open();
    let cached = mirror.cache().join("debs/busybox_1%3a2.0-1_arm64.deb");
    std::fs::write(&cached, "half a packa").unwrap();
    std::fs::remove_file(mirror.deb("busybox")).unwrap();
    let error = fetch(&archive, &["busybox"], "a").unwrap_err().to_string();
    assert!(error.starts_with("the package busybox 1:2.0-1"), "{error}");
    assert!(!cached.exists());
}

#[test]
fn a_package_that_does_not_exist_is_named_with_who_wants_it() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    let error = fetch(&mirror.open(), &["bussybox"], "a").unwrap_err().to_string();
    for word in ["\"bussybox\"", "trixie", "arm64", "a test"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

#[test]
fn a_library_is_found_in_a_package_that_its_user_depends_on() {
    use peercam_firmware::closure::Packages;

    let library = "usr/lib/aarch64-linux-gnu/libopus.so.0";
    let mirror = Mirror::new()
        .package("plugins", "libogg0 | virtual, libopus0 (>= 1.0)", "plugin")
        .package("libogg0", "", "usr/lib/aarch64-linux-gnu/libogg.so.0")
        .package("libopus0", "", library);
    let archive = mirror.open();
    let step = Progress::silent().step("test");
    let mut pool = Pool::new(&archive, &step);
    pool.require(&["plugins".to_owned()], "a test").unwrap();
    assert_eq!(pool.find(Path::new(library)), None);
    // One by one, the likeliest first, until there is none left.
    assert!(pool.widen("libopus.so.0", "plugins").unwrap());
    assert_eq!(pool.find(Path::new(library)).unwrap().package, "libopus0");
    assert!(pool.widen("libother.so.0", "plugins").unwrap());
    assert!(pool.widen("libother.so.0", "plugins").unwrap()); // `virtual`: nothing comes
    assert!(!pool.widen("libother.so.0", "plugins").unwrap());
}

#[test]
fn an_archive_that_debian_did_not_sign_is_refused() {
    let mirror = Mirror::new().package("busybox", "", "usr/bin/busybox");
    mirror.open();
    // As if a user named this folder as his mirror: apt has to refuse it.
    let source = format!(
        "deb [signed-by={}] copy:{} ./\n",
        peercam_firmware::debian::KEYRING,
        mirror.path("pool").display()
    );
    std::fs::write(mirror.cache().join("etc/sources.list"), source).unwrap();
    let output = Command::new("apt-get")
        .arg("update")
        .env("APT_CONFIG", mirror.cache().join("etc/apt.conf"))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("does not have a Release file"), "{error}");
}
