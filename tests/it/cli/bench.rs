//! `stillframe bench`.

use super::process::{directory, stillframe};

#[test]
fn a_bench_measures_a_restore_and_leaves_nothing() {
    let scratch = directory();
    let args = [
        "bench",
        "restore",
        "--no-fsync",
        "--files",
        "50",
        "--file-size",
        "1KiB",
        "--segment-files",
        "20",
    ];
    let mut command = stillframe(&args);
    command.args(["--rounds", "2", "--scratch"]).arg(scratch.path());
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "50 files of 1024 bytes in 3 segments",
        "service reaches ",
        "% of plain loop",
        "% of proving loop",
        "resident memory",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a directory").count(), 0);
}

#[test]
fn a_bench_takes_no_option_of_another_kind_of_storage() {
    let output = stillframe(&["bench", "restore", "--s5cmd", "s5cmd", "--files", "1"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("--s5cmd needs S3 storage"),
        "{said}"
    );
}

#[test]
#[ignore = "takes minutes: make test-long"]
fn the_memory_of_a_restore_of_many_files_stays_flat() {
    let scratch = directory();
    let args = [
        "bench",
        "restore",
        "--no-fsync",
        "--no-plain",
        "--rounds",
        "1",
        "--file-size",
        "1",
    ];
    let mut command = stillframe(&args);
    command.args(["--files", "200000", "--scratch"]).arg(scratch.path());
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let numbers = |words: &str| -> Vec<u64> {
        let line = said.lines().find_map(|line| line.split_once(words));
        let (_, figures) = line.unwrap_or_else(|| panic!("{words:?} in {said}"));
        figures.split_whitespace().filter_map(|n| n.parse().ok()).collect()
    };
    let peak = numbers("peak of resident memory while measuring:")[0];
    assert!(peak < 300, "{peak} MB");
    // flat: the second half of the files adds next to nothing
    let along = numbers("resident memory along the restore:");
    let (middle, last) = (along[along.len() / 2], along[along.len() - 1]);
    assert!(along.len() >= 4 && last < middle + 40, "{along:?}");
}
