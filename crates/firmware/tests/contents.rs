//! What is in an image: its bill of materials, and what changed between two.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{Tree, workspace};
use peercam_firmware::crates;
use peercam_firmware::manifest::{
    Crate, File, Manifest, PackageVersion, Part, Programs, StandardLibrary,
};
use serde_json::Value;

const HASH: &str = "38bc00000000000000000000000000000000000000000000000000000000000f";

fn file(path: &str, package: &str, bytes: u64) -> File {
    File { path: path.to_owned(), package: package.to_owned(), bytes }
}

fn manifest() -> Manifest {
    let part = |name: &str, bytes, files| Part { name: name.to_owned(), bytes, files };
    Manifest {
        board: "camera".to_owned(),
        architecture: "arm64".to_owned(),
        suite: "trixie".to_owned(),
        parts: vec![
            part("kernel", 9_000_000, vec![file("vmlinuz-6.12", "linux-image", 30_000_000)]),
            part(
                "root",
                15_000_000,
                vec![
                    file("usr/bin/busybox", "busybox", 700_000),
                    file("usr/bin/peercam-agent", "peercam", 5_000_000),
                    file("usr/share/doc", "busybox", 10),
                ],
            ),
        ],
        packages: vec![
            PackageVersion {
                name: "busybox".to_owned(),
                version: "1:1.37.0-6+b9".to_owned(),
                sha256: HASH.to_owned(),
            },
            PackageVersion {
                name: "linux-image".to_owned(),
                version: "6.12.1-1".to_owned(),
                sha256: HASH.to_owned(),
            },
        ],
        programs: programs(),
        partitions: Vec::new(),
        image_sha256: HASH.to_owned(),
    }
}

/// The programs of `workspace`, and a crate of a registry that it needed when they were built.
fn programs() -> Programs {
    let part = |name: &str, sha256: Option<&str>| Crate {
        name: name.to_owned(),
        version: "0.2.0".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        sha256: sha256.map(str::to_owned),
    };
    let mut crates = vec![part("older", Some(HASH)), part("part", None)];
    crates.extend(["peercam-agent", "peercam-watchdog"].map(|name| part(name, None)));
    let (name, version) = ("libstd-rust-web-dev".to_owned(), "1.96.0+dfsg1-1".to_owned());
    Programs { crates, standard_library: StandardLibrary { name, version } }
}

fn json(manifest: &Manifest) -> String {
    serde_json::to_string(manifest).unwrap()
}

fn component<'a>(document: &'a Value, name: &str) -> &'a Value {
    let components = document["components"].as_array().unwrap();
    components.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name}: {document}"))
}

#[test]
fn the_bill_of_materials_has_packages_with_their_files_and_crates() {
    let tree = workspace().file("out/camera/manifest.json", json(&manifest()));
    let ended = tree.run(&["sbom", "--board", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let document: Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(document["bomFormat"], "CycloneDX");
    assert_eq!(document["metadata"]["component"]["name"], "peercam-camera");
    assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], HASH);

    let busybox = component(&document, "busybox");
    assert_eq!(busybox["version"], "1:1.37.0-6+b9");
    let purl = "pkg:deb/debian/busybox@1:1.37.0-6%2Bb9?arch=arm64&distro=trixie";
    assert_eq!(busybox["purl"], purl);
    assert_eq!(busybox["hashes"][0]["content"], HASH);
    assert_eq!(busybox["components"][0]["name"], "/usr/bin/busybox");
    assert_eq!(busybox["components"].as_array().unwrap().len(), 2);
    assert_eq!(component(&document, "linux-image")["components"][0]["name"], "/vmlinuz-6.12");

    let part = component(&document, "part");
    assert_eq!(part["purl"], "pkg:cargo/part@0.2.0");
    assert_eq!(part["licenses"][0]["expression"], "MIT OR Apache-2.0");
    // The tree no longer needs it; the image has it.
    let older = component(&document, "older");
    assert_eq!(older["hashes"][0]["content"], HASH);
    let library = component(&document, "libstd-rust-web-dev");
    assert_eq!(library["purl"], "pkg:deb/debian/libstd-rust-web-dev@1.96.0%2Bdfsg1-1?arch=arm64");
    // What is built here is there too.
    assert_eq!(component(&document, "/usr/bin/peercam-agent")["type"], "file");
}

#[test]
fn the_bill_of_materials_is_of_the_image_and_not_of_the_tree() {
    let tree = workspace().file("out/camera/manifest.json", json(&manifest()));
    let before = tree.run(&["sbom", "--board", "camera"]).stdout();
    let board = common::CAMERA.to_owned() + "[debian]\nsuite = \"forky\"\n";
    let tree = tree.file("Cargo.lock", "").file("board/camera/board.toml", board);
    let ended = tree.run(&["sbom", "--board", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert_eq!(ended.stdout(), before);
}

#[test]
fn an_image_that_does_not_tell_its_crates_is_to_be_built_again() {
    let mut old = serde_json::to_value(manifest()).unwrap();
    old.as_object_mut().unwrap().remove("programs");
    let tree = workspace().file("out/camera/manifest.json", old.to_string());
    for verb in ["sbom", "licences"] {
        let ended = tree.run(&[verb, "--board", "camera"]);
        assert_eq!(ended.code(), 1);
        assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
    }
    assert_eq!(tree.run(&["sizes", "--board", "camera"]).code(), 0);
}

#[test]
fn what_only_builds_or_tests_is_no_crate_of_a_program() {
    let tree = workspace();
    let root = tree.workspace().root().to_owned();
    let programs = ["peercam-agent", "peercam-watchdog"];
    let crates = crates::of(&root, "aarch64-unknown-linux-gnu", &programs).unwrap();
    let mut wanted = self::programs().crates;
    wanted.retain(|part| part.name != "older");
    assert_eq!(crates, wanted);
}

#[test]
fn the_bill_of_materials_is_the_same_every_time_and_names_each_part_once() {
    let tree = workspace().file("out/camera/manifest.json", json(&manifest()));
    let text = tree.run(&["sbom", "--board", "camera"]).stdout();
    assert_eq!(text, tree.run(&["sbom", "--board", "camera"]).stdout());
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains("\"bom-ref\"")) {
        assert!(seen.insert(line.trim().to_owned()), "{line}");
    }
    assert!(!text.contains(tree.path("").to_str().unwrap()), "{text}");
}

#[test]
fn without_an_image_there_is_no_bill_of_materials() {
    let ended = workspace().run(&["sbom", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
}

#[test]
fn two_images_are_compared_with_the_largest_change_first() {
    let mut after = manifest();
    after.parts[1].bytes = 14_000_000;
    after.parts[1].files[0].bytes = 600_000;
    after.parts[1].files[1].bytes = 8_000_000;
    after.parts[1].files.push(file("usr/lib/new", "libnew", 2_000));
    let tree = Tree::new()
        .file("out/camera/manifest.json", json(&after))
        .file("before.json", json(&manifest()));
    let ended = tree.run(&["sizes", "--compare", "before.json", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let text = ended.stdout();
    let row = |name: &str| {
        let row = text.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("root"), "15.0 MB 14.0 MB -1.0 MB");
    assert_eq!(row("total"), "24.0 MB 23.0 MB -1.0 MB");
    assert_eq!(row("kernel"), "9.0 MB 9.0 MB =");
    assert_eq!(row("peercam"), "5.0 MB 8.0 MB +3.0 MB");
    assert_eq!(row("busybox"), "700.0 kB 600.0 kB -100.0 kB");
    assert_eq!(row("libnew"), "– 2.0 kB +2.0 kB");
    assert!(!text.contains("linux-image"), "{text}");
    assert!(text.find("peercam ").unwrap() < text.find("busybox").unwrap(), "{text}");

    let json = tree.run(&["sizes", "--compare", "before.json", "camera", "--json"]).stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["packages"][0]["name"], "peercam");
    assert_eq!(json["files"][0]["name"], "root:usr/bin/peercam-agent");
    assert_eq!(json["files"][2]["before"], Value::Null);
}

#[test]
fn what_can_not_be_compared_is_an_error_of_usage() {
    let tree = Tree::new().file("before.json", json(&manifest()));
    let ended = tree.run(&["sizes", "--compare", "before.json", "nothing"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr().contains("\"nothing\" is neither"), "{}", ended.stderr());
    assert_eq!(tree.run(&["sizes"]).code(), 2);
    assert_eq!(tree.run(&["sizes", "--compare", "before.json"]).code(), 2);
}

/// `workspace` with an image of two packages, of which one points to a third for its licence.
fn with_packages() -> Tree {
    let hash = &HASH[..16];
    let unpacked = "cache/peercam/debian/trixie-arm64/unpacked";
    let doc = |package: &str, version: &str| {
        format!("{unpacked}/{package}_{version}_arm64.deb-{hash}/usr/share/doc")
    };
    let busybox = doc("busybox", "1%3a1.37.0-6+b9");
    let linux = doc("linux-image", "6.12.1-1");
    let tree = workspace()
        .file("out/camera/manifest.json", json(&manifest()))
        .file(
            &format!("{busybox}/busybox/copyright"),
            b"GPL-2, by J\xf6rg: in /usr/share/common-licenses/GPL-2.\n",
        )
        .file(
            &format!("{unpacked}/base-files_13_arm64.deb-1/usr/share/common-licenses/GPL-2"),
            "all of the GPL\n",
        )
        .file(
            &format!("{unpacked}/base-files_9.1_arm64.deb-1/usr/share/common-licenses/BSD"),
            "all of the BSD\n",
        )
        .file(&format!("{}/linux-base/copyright", doc("linux-base", "6.12.1-1")), "GPL-2 only\n")
        .file(&format!("{linux}/other"), "")
        .file("LICENSE-MIT", "ours\n")
        .file("crates/part/LICENSE", "the part's\n")
        .file("crates/older-0.2.0/LICENSE", "the older one's\n")
        .file("out/camera/build/rust-std.copyright", "Rust's\n");
    let link = tree.path(&format!("{linux}/linux-image"));
    std::os::unix::fs::symlink("linux-base", link).unwrap();
    tree
}

#[test]
fn licences_of_packages_and_crates_are_printed_once_with_what_has_them() {
    let ended = with_packages().run(&["licences", "--board", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let text = ended.stdout();
    let before = |licence: &str| text.split(licence).next().unwrap().rsplit("====").next().unwrap();
    assert!(before("GPL-2, by").contains("busybox 1:1.37.0-6+b9"), "{text}");
    assert!(before("GPL-2 only").contains("linux-image 6.12.1-1"), "{text}");
    assert!(before("all of the GPL").contains("common-licenses/GPL-2, named above"), "{text}");
    assert!(!text.contains("all of the BSD"), "nothing names it: {text}");
    assert!(before("the part's").contains("part 0.2.0 (MIT OR Apache-2.0)"), "{text}");
    assert!(before("the older one's").contains("older 0.2.0"), "{text}");
    assert!(before("Rust's\n").contains("libstd-rust-web-dev 1.96.0"), "{text}");
    let ours = before("ours\n");
    assert!(ours.contains("peercam-agent 0.2.0") && ours.contains("peercam-watchdog"), "{text}");
    assert_eq!(text.matches("ours\n").count(), 1, "{text}");
    assert!(!text.contains("tester"), "{text}");
}

#[test]
fn a_crate_of_the_image_whose_source_is_not_here_is_named() {
    let tree = with_packages();
    std::fs::remove_dir_all(tree.path("crates/older-0.2.0")).unwrap();
    let ended = tree.run(&["licences", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("older 0.2.0"), "{}", ended.stderr());
}

#[test]
fn a_package_whose_licence_is_nowhere_is_named() {
    let tree = with_packages();
    let unpacked = tree.path("cache/peercam/debian/trixie-arm64/unpacked");
    let folder = std::fs::read_dir(&unpacked).unwrap().map(|entry| entry.unwrap().path());
    for folder in folder.filter(|path| path.to_string_lossy().contains("/busybox_")) {
        std::fs::remove_dir_all(folder.join("usr")).unwrap();
    }
    let ended = tree.run(&["licences", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(
        ended.stderr().contains("busybox 1:1.37.0-6+b9 has no copyright"),
        "{}",
        ended.stderr()
    );

    std::fs::remove_dir_all(unpacked).unwrap();
    let ended = tree.run(&["licences", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
}
