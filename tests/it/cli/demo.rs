//! `stillframe demo`, as `make demo` runs it.

use nix::sys::signal::Signal;

use super::process::{Ran, Running, directory, stillframe};

#[test]
fn the_demo_proves_what_it_says_and_leaves_nothing() {
    let temporary = directory();
    let ran = Ran::from(stillframe(&["demo"]).env("TMPDIR", temporary.path()).output().expect("runs"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines
            .last()
            .is_some_and(|l| l.starts_with("proved: 48 files, 8,964,728 bytes, equal byte for byte")),
        "{ran:?}"
    );
    let steps = &lines[..lines.len() - 1];
    assert!(
        !steps.is_empty() && steps.iter().enumerate().all(|(n, l)| l.starts_with(&format!("{}. ", n + 1))),
        "{ran:?}"
    );
    assert!(
        ran.out.is_ascii() && ran.err.is_ascii() && !ran.err.contains("WARN"),
        "{ran:?}"
    );
    let left: Vec<_> = temporary.path().read_dir().expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_kept_demo_stays_up_and_its_hints_work() {
    let dir = directory();
    let data_dir = dir.path().join("kept");
    let mut command = stillframe(&["demo", "--keep", "--data-dir"]);
    command.arg(&data_dir);
    let mut demo = Running::start(command);
    let lines = demo.out_until("Later again: ");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let docs = lines
        .iter()
        .find_map(|l| l.strip_prefix("Documentation of the API: "))
        .expect("a line");
    assert!(client.get(docs).send().await.expect("an answer").status().is_success());
    let curls: Vec<&str> = lines.iter().filter_map(|l| l.trim().strip_prefix("curl -s ")).collect();
    assert_eq!(curls.len(), 3, "{lines:#?}");
    for line in curls {
        let url = line.split(' ').next().expect("a URL");
        let body = line
            .split_once("-d '")
            .map(|(_, body)| body.trim_end_matches('\'').to_string());
        let request = match body {
            Some(body) => client.post(url).header("content-type", "application/json").body(body),
            None => client.get(url),
        };
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{line}: {}", answer.status());
    }
    demo.signal(Signal::SIGINT);
    let ran = demo.ended();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(data_dir.join("objects/stillframe.json").exists(), "kept");

    let again = stillframe(&["demo", "--data-dir"]).arg(&data_dir).output().expect("runs");
    let again = Ran::from(again);
    assert!(
        again.code == Some(1) && again.err.contains("is not empty") && again.out.is_empty(),
        "{again:?}"
    );
}
