//! `firmware.lock`: written by `update-lock`, kept to by `build`. The archive is a folder that
//! moves on, as Debian's does; apt, its index and the packages are real. A build here ends
//! after its first step, the kernel: its line says which version was taken.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::mirror::Mirror;
use common::{CAMERA, Ended, Tree, workspace};
use peercam_firmware::lock::Lock;
use peercam_firmware::manifest::{Manifest, PackageVersion, Programs};
use serde_json::{Value, json};

const PLUGIN: &str = "usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstcoreelements.so";

/// What stands for cross and its container: programs that need nothing.
const CROSS: &str = r#"#!/bin/sh
while [ "$1" != --target ]; do shift; done
for program in firmware/peercam-agent firmware/peercamctl firmware-small/peercam-watchdog; do
    mkdir -p "target/cross/$2/${program%/*}"
    echo '#!/bin/sh' >"target/cross/$2/$program"
done
"#;
const CONTAINER: &str = "#!/bin/sh\necho libstd 1.0\necho licence\n";

/// A source tree, and the archive that its packages come from.
struct Scene {
    tree: Tree,
    mirror: Mirror,
}

impl Scene {
    fn new() -> Self {
        let tree =
            workspace().file("scripts/cross", CROSS).file("scripts/build-container", CONTAINER);
        for script in ["scripts/cross", "scripts/build-container"] {
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(tree.path(script), mode).unwrap();
        }
        let mirror = Mirror::new()
            .package("linux-image", "virtual | linux-image-6.1", "usr/share/doc/linux-image/x")
            .package("busybox-static", "", "usr/bin/busybox")
            .package("libgstreamer1.0-0", "", PLUGIN)
            .package("gstreamer1.0-tools", "", "usr/bin/gst-inspect-1.0")
            .package("base-files", "", "usr/share/common-licenses/GPL-2")
            .package("extra", "", "usr/bin/extra");
        Self { tree, mirror: with_kernel(mirror, "6.1", "1:2.0-1") }.indexed()
    }

    /// The archive has a newer kernel, and the old one no longer if it is `gone`.
    fn with_newer_kernel(self, gone: bool) -> Self {
        if gone {
            std::fs::remove_file(self.mirror.deb("linux-image-6.1")).unwrap();
            std::fs::remove_file(self.mirror.deb("linux-image")).unwrap();
        }
        let Self { tree, mirror } = self;
        let meta = "usr/share/doc/linux-image/x";
        let mirror = mirror.version("linux-image", "1:3.0-1", "linux-image-6.2", &[meta]);
        Self { tree, mirror: with_kernel(mirror, "6.2", "1:3.0-1") }.indexed()
    }

    fn indexed(self) -> Self {
        drop(self.mirror.open());
        self
    }

    /// As on a machine that has built nothing yet.
    fn without_downloads(self) -> Self {
        for folder in ["debs", "unpacked"] {
            std::fs::remove_dir_all(self.mirror.cache().join(folder)).unwrap();
        }
        self
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.tree.run_offline(arguments, &self.mirror.path(""))
    }

    fn update(&self, arguments: &[&str]) -> String {
        let ended = self.run(&[&["update-lock"], arguments].concat());
        assert_eq!(ended.code(), 0, "{}", ended.stderr());
        ended.stdout()
    }

    /// What `build` says on standard error.
    fn build(&self, arguments: &[&str]) -> String {
        let ended = self.run(&[&["build", "--board", "camera"], arguments].concat());
        assert_eq!(ended.code(), 1, "{}", ended.stderr());
        ended.stderr()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.tree.path("firmware.lock")).unwrap()
    }
}

fn with_kernel(mirror: Mirror, release: &str, version: &str) -> Mirror {
    let image = format!("boot/vmlinuz-{release}");
    let module = format!("usr/lib/modules/{release}/squashfs.ko");
    mirror.version(&format!("linux-image-{release}"), version, "", &[&image, &module])
}

#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn the_lock_names_every_package_with_version_hash_size_and_place() {
    let scene = Scene::new();
    let text = scene.update(&[]);
    assert_has(&text, &["trixie arm64\n", "+ busybox-static 1:2.0-1\n", "+ base-files"]);
    assert!(!text.contains("extra"), "nothing needs it: {text}");

    let lock: toml::Table = scene.text().parse().unwrap();
    let archive = &lock["archive"][0];
    assert_eq!(archive["suite"].as_str(), Some("trixie"));
    assert_eq!(archive["architecture"].as_str(), Some("arm64"));
    let packages = archive["package"].as_array().unwrap();
    let names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let wanted = [
        "base-files",
        "busybox-static",
        "gstreamer1.0-tools",
        "libgstreamer1.0-0",
        "linux-image",
        "linux-image-6.1",
    ];
    assert_eq!(names, wanted);
    let deb = scene.mirror.deb("busybox-static");
    let busybox = &packages[1];
    assert_eq!(busybox["version"].as_str(), Some("1:2.0-1"));
    assert_eq!(busybox["architecture"].as_str(), Some("arm64"));
    assert_eq!(busybox["sha256"].as_str().unwrap(), peercam_firmware::hash::file(&deb).unwrap());
    assert_eq!(busybox["size"].as_integer().unwrap().unsigned_abs(), deb.metadata().unwrap().len());
    assert!(
        busybox["file"].as_str().unwrap().ends_with(deb.file_name().unwrap().to_str().unwrap())
    );
    // What it depends on, as far as it is listed.
    assert_eq!(packages[4]["depends"].as_array().unwrap()[0].as_str(), Some("linux-image-6.1"));
    assert_eq!(packages[4]["depends"].as_array().unwrap().len(), 1);

    // Once more, and nothing has changed.
    let before = scene.text();
    assert_eq!(scene.update(&[]), "");
    assert_eq!(scene.text(), before);
}

#[test]
fn what_changes_in_the_lock_is_shown() {
    let scene = Scene::new();
    scene.update(&[]);
    let before = scene.text();
    let Scene { tree, mirror } = scene.with_newer_kernel(true);
    let door = format!("{CAMERA}[debian]\npackages = [\"extra\"]\n");
    let scene = Scene { tree: tree.file("board/door/board.toml", door), mirror };

    let shown = "trixie arm64\n+ extra 1:2.0-1\n  linux-image 1:2.0-1 -> 1:3.0-1\n\
                 - linux-image-6.1 1:2.0-1\n+ linux-image-6.2 1:3.0-1\n";
    assert_eq!(scene.update(&["--dry-run"]), shown);
    assert_eq!(scene.text(), before);
    let json: Value = serde_json::from_str(&scene.update(&["--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
    let meta = json!({
        "suite": "trixie", "architecture": "arm64", "name": "linux-image",
        "before": "1:2.0-1", "after": "1:3.0-1",
    });
    assert_eq!(json[1], meta);
    assert_eq!(json[2]["after"], Value::Null);
    assert!(scene.text().contains("linux-image-6.2"), "{}", scene.text());
}

#[test]
fn an_older_version_than_before_is_marked_and_warned_of() {
    let scene = Scene::new().with_newer_kernel(false);
    scene.update(&[]);
    std::fs::remove_file(scene.mirror.deb_of("linux-image", "1:3.0-1")).unwrap();
    let ended = scene.indexed().run(&["update-lock"]);
    assert_has(&ended.stdout(), &["  linux-image 1:3.0-1 -> 1:2.0-1 (older)\n"]);
    assert_has(&ended.stderr(), &["warning: 1 of them to an older version"]);
}

#[test]
fn a_build_takes_what_the_lock_names_though_there_is_newer() {
    let scene = Scene::new();
    scene.update(&[]);
    let scene = scene.with_newer_kernel(false).without_downloads();
    for arguments in [&[][..], &["--locked"]] {
        let said = scene.build(arguments);
        assert_has(&said, &["kernel: 6.1,"]);
        assert!(!said.contains("warning"), "{said}");
        std::fs::remove_dir_all(scene.tree.path("out")).unwrap();
    }
    assert_has(&scene.build(&["--update"]), &["kernel: 6.2,"]);
}

#[test]
fn without_a_lock_the_newest_packages_are_taken_and_locked_is_refused() {
    let scene = Scene::new().with_newer_kernel(false);
    let said = scene.build(&[]);
    assert_has(&said, &["kernel: 6.2,"]);
    assert!(!said.contains("warning"), "{said}");
    assert_has(&scene.build(&["--locked"]), &["firmware.lock has no packages", "update-lock"]);
}

#[test]
fn what_is_gone_from_the_archive_is_named_and_a_file_in_the_cache_is_a_way_out() {
    let scene = Scene::new();
    scene.update(&[]);
    let deb = std::fs::read(scene.mirror.deb("linux-image")).unwrap();
    let kernel = std::fs::read(scene.mirror.deb("linux-image-6.1")).unwrap();
    let scene = scene.with_newer_kernel(true).without_downloads();
    let said = scene.build(&["--locked"]);
    assert_has(
        &said,
        &[
            "\nlinux-image-6.1 1:2.0-1 (arm64) of firmware.lock is gone from the archive\n",
            "linux-image 1:2.0-1 (arm64) of firmware.lock is gone",
            "PEERCAM_DEBIAN_MIRROR",
            "update-lock",
            scene.mirror.cache().join("debs").to_str().unwrap(),
        ],
    );
    assert!(!said.contains("busybox-static 1:2.0-1 (arm64)"), "{said}");
    assert!(!said.contains("kernel: 6"), "{said}");
    // Others go on, and say so.
    let said = scene.build(&[]);
    assert_has(&said, &["warning: ", "firmware.lock", "linux-image-6.1 1:2.0-1", "kernel: 6.2,"]);

    let debs = scene.mirror.cache().join("debs");
    std::fs::write(debs.join("linux-image_1%3a2.0-1_arm64.deb"), deb).unwrap();
    std::fs::write(debs.join("linux-image-6.1_1%3a2.0-1_arm64.deb"), "half a pack").unwrap();
    let said = scene.build(&["--locked"]);
    assert_has(&said, &["linux-image-6.1 1:2.0-1 (arm64) of firmware.lock is gone"]);
    assert!(!said.contains("linux-image 1:2.0-1 (arm64)"), "{said}");
    std::fs::write(debs.join("linux-image-6.1_1%3a2.0-1_arm64.deb"), kernel).unwrap();
    assert_has(&scene.build(&["--locked"]), &["kernel: 6.1,"]);
}

#[test]
fn a_board_that_wants_more_than_the_lock_has_is_told() {
    let scene = Scene::new();
    scene.update(&[]);
    let Scene { tree, mirror } = scene;
    let board = format!("{CAMERA}[debian]\npackages = [\"extra\"]\n");
    let scene = Scene { tree: tree.file("board/camera/board.toml", board), mirror };
    let said = scene.build(&["--locked"]);
    assert_has(&said, &["the package extra is not among", "firmware.lock", "update-lock"]);
    let said = scene.build(&[]);
    assert_has(&said, &["warning: ", "the package extra is not among", "kernel: 6.1,"]);
}

#[test]
fn a_lock_that_is_none_is_said_where_and_written_anew() {
    let scene = Scene::new();
    let Scene { tree, mirror } = scene;
    let scene =
        Scene { tree: tree.file("firmware.lock", "version = 1\n\narchives = []\n"), mirror };
    assert_has(&scene.build(&[]), &["firmware.lock", "line 3", "update-lock"]);
    let Scene { tree, mirror } = scene;
    let scene = Scene { tree: tree.file("firmware.lock", "version = 2\n"), mirror };
    assert_has(&scene.build(&[]), &["version 2 is not known", "update-lock"]);
    assert_has(&scene.update(&[]), &["+ busybox-static"]);
    assert_has(&scene.build(&["--locked"]), &["kernel: 6.1,"]);
}

#[test]
fn an_image_of_other_packages_than_the_locks_is_told_apart() {
    let scene = Scene::new();
    scene.update(&[]);
    let lock = Lock::read(&scene.tree.path("firmware.lock")).unwrap().unwrap();
    let package = |name: &str, version: &str, sha256: &str| PackageVersion {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: sha256.to_owned(),
    };
    let deb = peercam_firmware::hash::file(&scene.mirror.deb("busybox-static")).unwrap();
    let manifest = Manifest {
        board: "camera".to_owned(),
        architecture: "arm64".to_owned(),
        suite: "trixie".to_owned(),
        parts: Vec::new(),
        packages: vec![
            package("base-files", "1:2.1-1", "0"),
            package("busybox-static", "1:2.0-1", &deb),
            package("extra", "1:2.0-1", "1"),
        ],
        programs: Programs::default(),
        partitions: Vec::new(),
        image_sha256: String::new(),
    };
    assert_eq!(lock.others_in(&manifest), ["base-files 1:2.1-1 (1:2.0-1)", "extra 1:2.0-1 (none)"]);
}
