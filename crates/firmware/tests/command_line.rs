//! The program as a person meets it: words, exit codes, what is data and what is not.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CAMERA, Tree};
use peercam_firmware::manifest::{File, Manifest, Part, Programs};

fn manifest(root: u64, kernel: u64, watchdog: u64) -> String {
    let file = |path: &str, package: &str, bytes| File {
        path: path.to_owned(),
        package: package.to_owned(),
        bytes,
    };
    let part = |name: &str, bytes| Part {
        name: name.to_owned(),
        bytes,
        files: vec![
            file(&format!("small-{name}"), "busybox", 10),
            file(&format!("big-{name}"), "libc6", 2_000_000),
        ],
    };
    let mut root = part("root", root);
    root.files.push(file("usr/bin/peercam-watchdog", "peercam", watchdog));
    root.files.push(file("etc/peercam/peercam-watchdog.conf", "peercam", 1_900_000));
    serde_json::to_string(&Manifest {
        board: "camera".to_owned(),
        architecture: "arm64".to_owned(),
        suite: "trixie".to_owned(),
        parts: vec![part("kernel", kernel), root],
        packages: Vec::new(),
        programs: Programs::default(),
        partitions: Vec::new(),
        image_sha256: String::new(),
    })
    .unwrap()
}

#[test]
fn help_lists_the_verbs_and_shows_examples() {
    let ended = Tree::new().run(&["--help"]);
    assert_eq!(ended.code(), 0);
    for word in ["build", "update-lock", "run", "sizes", "doctor", "Examples:", "board/README.md"] {
        assert!(ended.stdout().contains(word), "{word}");
    }
}

#[test]
fn an_unknown_board_is_an_error_of_usage_that_lists_the_boards() {
    let tree = Tree::new().file("board/door/board.toml", CAMERA);
    for verb in ["build", "run", "sizes", "doctor"] {
        let ended = tree.run(&[verb, "--board", "nope"]);
        assert_eq!(ended.code(), 2, "{verb}");
        assert!(ended.stderr().contains("\"nope\"; there are: camera, door"), "{}", ended.stderr());
        assert_eq!(ended.stdout(), "");
    }
}

#[test]
fn outside_the_source_tree_it_says_where_it_wants_to_be() {
    let tree = Tree::new();
    std::fs::remove_file(tree.path("board/base.toml")).unwrap();
    let ended = tree.run(&["sizes", "--board", "camera"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr().contains("inside the peercam source tree"), "{}", ended.stderr());
}

#[test]
fn without_an_image_sizes_and_run_say_how_to_get_one() {
    let tree = Tree::new();
    for verb in ["sizes", "run"] {
        let ended = tree.run(&[verb, "--board", "camera"]);
        assert_eq!(ended.code(), 1, "{verb}");
        assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
    }
}

#[test]
fn sizes_are_listed_largest_first_by_part_and_package() {
    let tree =
        Tree::new().file("out/camera/manifest.json", manifest(15_000_000, 9_000_000, 660_072));
    let ended = tree.run(&["sizes", "--board", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let text = ended.stdout();
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in {text}"));
    assert!(at("\nroot") < at("\nkernel"));
    assert!(at("libc6") < at("busybox"));
    assert!(text.contains("budget root: 15.0 MB of 20.0 MB: kept"), "{text}");
    assert!(text.contains("budget total: 24.0 MB of 40.0 MB: kept"), "{text}");
    assert!(text.contains("budget watchdog: 660.1 kB of 1.0 MB: kept"), "{text}");
}

#[test]
fn an_image_over_its_budget_fails_and_says_which_and_by_how_much() {
    let tree =
        Tree::new().file("out/camera/manifest.json", manifest(20_000_007, 9_000_000, 1_000_000));
    let ended = tree.run(&["sizes", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stdout().contains("EXCEEDED"), "{}", ended.stdout());
    assert!(ended.stderr().contains("`budgets.root` of camera"), "{}", ended.stderr());
    assert!(ended.stderr().contains("(7 bytes) over its 20.0 MB"), "{}", ended.stderr());
    assert!(!ended.stderr().contains("budgets.total"), "{}", ended.stderr());
    assert!(!ended.stderr().contains("budgets.watchdog"), "{}", ended.stderr());
}

#[test]
fn a_watchdog_over_its_budget_fails_however_small_the_image_is() {
    let manifest = manifest(15_000_000, 9_000_000, 1_000_001);
    let tree = Tree::new().file("out/camera/manifest.json", manifest);
    let ended = tree.run(&["sizes", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("`budgets.watchdog` of camera"), "{}", ended.stderr());
    assert!(ended.stderr().contains("(1 bytes) over its 1.0 MB"), "{}", ended.stderr());
    assert!(!ended.stderr().contains("budgets.root"), "{}", ended.stderr());
}

#[test]
fn sizes_as_json_have_the_same_numbers() {
    let tree =
        Tree::new().file("out/camera/manifest.json", manifest(15_000_000, 30_000_000, 660_072));
    let ended = tree.run(&["sizes", "--board", "camera", "--json"]);
    assert_eq!(ended.code(), 1);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(report["total"], 45_000_000);
    assert_eq!(report["parts"][0]["name"], "kernel");
    assert_eq!(report["parts"][0]["packages"][0]["name"], "libc6");
    assert_eq!(report["budgets"][1]["over"], 5_000_000);
}

#[test]
fn the_doctor_names_what_is_missing_and_the_cure() {
    let machine =
        "[qemu]\nmachine = \"virt\"\ncpu = \"max\"\nfirmware = \"/nonexistent/u-boot.bin\"\n";
    let tree = Tree::new().file("board/camera/board.toml", format!("{CAMERA}{machine}"));
    let ended = tree.run(&["doctor", "--board", "camera"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stdout().contains("/nonexistent/u-boot.bin"), "{}", ended.stdout());
    for word in ["/nonexistent/u-boot.bin", "u-boot-qemu", "./scripts/setup firmware"] {
        assert!(ended.stderr().contains(word), "{}", ended.stderr());
    }
    let ended = tree.run(&["doctor", "--board", "camera", "--json"]);
    let findings: serde_json::Value = serde_json::from_str(&ended.stdout()).unwrap();
    let found = |name: &str| {
        let finding = findings.as_array().unwrap().iter().find(|f| f["name"] == name).unwrap();
        finding["found"].as_bool().unwrap()
    };
    assert!(found("dpkg-deb"));
    assert!(!found("/nonexistent/u-boot.bin"));
}
