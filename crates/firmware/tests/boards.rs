//! A board's file: what is taken from its parents, and what a mistake in it is answered with.
#![allow(clippy::unwrap_used)]

mod common;

use common::{BASE, CAMERA, Tree};
use peercam_firmware::board::Board;
use peercam_firmware::workspace::Workspace;

/// `text` after the lines that every board needs.
fn camera(text: &str) -> String {
    format!("{CAMERA}{text}")
}

#[track_caller]
fn assert_names(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_variant_is_two_lines() {
    let tree = Tree::new()
        .file("board/camera-dev/board.toml", "inherits = \"camera\"\nserial-shell = true\n");
    let board = tree.board("camera-dev").unwrap();
    assert!(board.serial_shell);
    assert_eq!(board.target, "aarch64-unknown-linux-gnu");
    assert!(!tree.board("camera").unwrap().serial_shell);
}

#[test]
fn lists_add_to_the_parents_and_values_replace_them() {
    let own = camera(
        "[kernel]\npackage = \"linux-image-own\"\nmodules.initramfs = [\"ext4\", \"squashfs\"]\n",
    );
    let board = Tree::new().file("board/camera/board.toml", own).board("camera").unwrap();
    assert_eq!(board.kernel.initramfs_modules, ["squashfs", "ext4"]);
    assert_eq!(board.kernel.package, "linux-image-own");
}

#[test]
fn overlay_and_agent_configuration_come_from_the_nearest_folder() {
    let tree = Tree::new()
        .file("board/base/overlay/etc/a", "")
        .file("board/base/agent.toml", "")
        .file("board/camera/overlay/etc/b", "")
        .file("board/dev/board.toml", "inherits = \"camera\"")
        .file("board/dev/agent.toml", "");
    let workspace = tree.workspace();
    let boards = workspace.boards();
    let dev = tree.board("dev").unwrap();
    assert_eq!(dev.overlays(), [boards.join("base/overlay"), boards.join("camera/overlay")]);
    assert_eq!(dev.agent_config().unwrap(), boards.join("dev/agent.toml"));
    assert_eq!(
        tree.board("camera").unwrap().agent_config().unwrap(),
        boards.join("base/agent.toml")
    );
}

#[test]
fn of_several_parents_a_later_one_is_laid_over_an_earlier_one() {
    let tree = Tree::new()
        .file("board/dev.toml", "serial-shell = true\nconsoles = [\"ttyS1\"]\n")
        .file("board/dev/agent.toml", "")
        .file("board/camera/agent.toml", "")
        .file("board/camera/board.toml", camera("serial-shell = false\nconsoles = [\"ttyS0\"]\n"))
        .file("board/camera-dev/board.toml", "inherits = [\"camera\", \"dev\"]\n");
    let board = tree.board("camera-dev").unwrap();
    assert!(board.serial_shell);
    assert_eq!(board.consoles, ["ttyS0", "ttyS1"]);
    assert_eq!(board.agent_config().unwrap(), tree.path("board/dev/agent.toml"));
}

#[test]
fn an_ancestor_on_two_ways_is_laid_once_and_first() {
    let tree = Tree::new()
        .file("board/base.toml", format!("{BASE}[files]\n\"a\" = \"from-base\"\n"))
        .file("board/dev.toml", "inherits = \"base\"\n")
        .file("board/camera/board.toml", camera("[files]\n\"a\" = \"from-camera\"\n"))
        .file("board/camera-dev/board.toml", "inherits = [\"camera\", \"dev\"]\n");
    let board = tree.board("camera-dev").unwrap();
    assert_eq!(board.files["a"], "from-camera");
    assert_eq!(board.lineage.len(), 4);
}

#[test]
fn an_unknown_board_is_answered_with_those_that_there_are() {
    let tree = Tree::new().file("board/door/board.toml", CAMERA);
    assert_names(&tree.board_error("dor"), &["\"dor\"", "camera, door"]);
}

#[test]
fn a_board_name_that_is_a_path_is_an_unknown_board() {
    assert_names(&Tree::new().board_error("../board/camera"), &["there is no board"]);
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_key() {
    let tree = Tree::new().file("board/camera/board.toml", camera("serial_shell = true\n"));
    assert_names(
        &tree.board_error("camera"),
        &["board/camera/board.toml", ".toml:5: ", "serial_shell", "serial-shell"],
    );
}

#[test]
fn a_mistake_in_the_parent_is_blamed_on_the_parent() {
    let tree = Tree::new().file("board/base.toml", "[budgets]\nroot = 20\n");
    assert_names(&tree.board_error("camera"), &["board/base.toml:2: "]);
}

#[test]
fn a_wrong_type_is_refused_with_file_and_line() {
    let tree = Tree::new().file("board/camera/board.toml", camera("serial-shell = \"yes\"\n"));
    assert_names(&tree.board_error("camera"), &["board/camera/board.toml:5: ", "boolean"]);
}

#[test]
fn a_size_without_unit_is_refused_with_an_example() {
    let tree = Tree::new().file("board/camera/board.toml", camera("[budgets]\nroot = \"20\"\n"));
    assert_names(&tree.board_error("camera"), &["board/camera/board.toml:6: ", "20 MB"]);
}

#[test]
fn a_key_that_nobody_sets_is_missing_by_its_full_name() {
    let tree = Tree::new().file("board/camera/board.toml", "inherits = \"base\"\n");
    assert_names(&tree.board_error("camera"), &["board/camera/board.toml", "`architecture`"]);
}

#[test]
fn a_parent_that_is_not_there_is_named() {
    let tree = Tree::new().file("board/camera/board.toml", "inherits = \"bsae\"\n");
    assert_names(
        &tree.board_error("camera"),
        &["board/camera/board.toml", "`inherits`", "\"bsae\""],
    );
}

#[test]
fn boards_that_inherit_in_a_circle_are_shown_the_circle() {
    let tree = Tree::new()
        .file("board/a/board.toml", "inherits = \"b\"\n")
        .file("board/b/board.toml", "inherits = \"a\"\n");
    assert_names(&tree.board_error("a"), &["board/b/board.toml:1: ", "a → b → a"]);
}

#[test]
fn architecture_and_target_that_contradict_each_other_are_both_named() {
    let own = camera("").replace("aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf");
    let tree = Tree::new().file("board/camera/board.toml", own);
    assert_names(
        &tree.board_error("camera"),
        &["architecture = \"arm64\"", "target = \"armv7-unknown-linux-gnueabihf\""],
    );
}

#[test]
fn budgets_that_contradict_each_other_are_both_named() {
    let tree = Tree::new().file("board/camera/board.toml", camera("[budgets]\nroot = \"50 MB\"\n"));
    assert_names(
        &tree.board_error("camera"),
        &["budgets.root", "50.0 MB", "budgets.total", "40.0 MB"],
    );
    let tree =
        Tree::new().file("board/camera/board.toml", camera("[image]\nroot-size = \"8 MiB\"\n"));
    assert_names(
        &tree.board_error("camera"),
        &["budgets.root", "20.0 MB", "image.root-size", "8.4 MB"],
    );
}

#[test]
fn an_element_that_no_plugin_has_is_named_with_the_way_to_find_it() {
    let tree = Tree::new()
        .file("board/camera/board.toml", camera("[gstreamer]\nelements = [\"x264enc\"]\n"));
    assert_names(
        &tree.board_error("camera"),
        &["gstreamer.elements", "\"x264enc\"", "gst-inspect-1.0"],
    );
}

#[test]
fn an_element_that_two_plugins_have_names_both() {
    let own = camera("[gstreamer.plugins]\nmore = { package = \"x\", elements = [\"queue\"] }\n");
    let tree = Tree::new().file("board/camera/board.toml", own);
    assert_names(
        &tree.board_error("camera"),
        &["plugins.coreelements", "plugins.more", "\"queue\""],
    );
}

#[test]
fn options_for_a_module_that_is_not_loaded_are_refused() {
    let own = camera("[kernel.module-options]\nvivid = \"n_devs=1\"\n");
    let tree = Tree::new().file("board/camera/board.toml", own);
    assert_names(
        &tree.board_error("camera"),
        &["kernel.module-options", "\"vivid\"", "kernel.modules"],
    );
}

#[test]
fn a_console_on_the_command_line_is_sent_to_its_own_key() {
    let own = camera("[kernel]\ncommand-line = [\"console=ttyS0\"]\n");
    let tree = Tree::new().file("board/camera/board.toml", own);
    assert_names(&tree.board_error("camera"), &["console=ttyS0", "`consoles`"]);
}

#[test]
fn a_file_outside_its_package_is_refused() {
    for path in ["/usr/bin/x", "usr/../../x", ""] {
        let own = camera(&format!("[files]\n\"{path}\" = \"busybox\"\n"));
        let tree = Tree::new().file("board/camera/board.toml", own);
        assert_names(&tree.board_error("camera"), &["`files`", "usr/bin/busybox"]);
    }
}

#[test]
fn every_board_of_the_source_tree_can_be_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = Workspace::new(&root, &root.join("no-cache"));
    let names = Board::list(&workspace).unwrap();
    assert!(names.contains(&"qemu-aarch64".to_owned()), "{names:?}");
    for name in names {
        let board = Board::load(&workspace, &name).unwrap();
        assert_eq!(board.name, name);
    }
}
