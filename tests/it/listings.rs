//! Listing many directories with few requests.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use stillframe::objects::{CopyFile, Directories, Expected, Objects, requests_at_most};
use tempfile::TempDir;

use crate::support::etags::Spoil;
use crate::support::faults::{Call, Fault, Faults};
use crate::support::s3;

struct Store {
    objects: Objects,
    faults: Faults,
    files: TempDir,
}

impl Store {
    async fn new() -> Self {
        let (files, faults) = (TempDir::new().expect("a directory"), Faults::default());
        let (url, options) = s3::start_behind(files.path(), faults.clone()).await;
        Self {
            objects: Objects::open(url, options).expect("opened"),
            faults,
            files,
        }
    }

    fn root(&self) -> PathBuf {
        root(self.files.path())
    }

    fn lists(&self) -> usize {
        self.faults.calls(is_list).len()
    }
}

/// Where the files of a store are that an S3 server keeps in a directory.
fn root(directory: &Path) -> PathBuf {
    directory.join("bucket/some/prefix")
}

fn is_list(call: &Call) -> bool {
    call.query.contains("list-type=2")
}

fn put(root: &Path, directory: &str, names: impl Iterator<Item = usize>) {
    let directory = root.join(directory);
    std::fs::create_dir_all(&directory).expect("made");
    for name in names {
        std::fs::write(directory.join(format!("{name:04}")), vec![b'x'; name % 7]).expect("written");
    }
}

/// What is below directories, looked at one by one.
async fn one_by_one(objects: &Objects, directories: &Directories) -> HashSet<(String, u64)> {
    let mut found = HashSet::new();
    for directory in directories.keys() {
        let listed = objects.list(directory).await.expect("listed");
        found.extend(listed.into_iter().map(|(key, entry)| (key, entry.size_bytes)));
    }
    found
}

async fn all(objects: &Objects, directories: &Directories) -> HashSet<(String, u64)> {
    let listed = objects.list_all(directories).await.expect("listed");
    listed.into_iter().map(|(key, entry)| (key, entry.size_bytes)).collect()
}

#[tokio::test]
async fn neighbours_are_listed_with_one_request_and_siblings_stay_out() {
    let store = Store::new().await;
    let mut wanted = Directories::new();
    for id in 0..30 {
        put(&store.root(), &format!("insert_log/1/2/{id}"), 0..20);
        if id % 3 != 0 {
            wanted.insert(format!("insert_log/1/2/{id}/"), Expected::below(20));
        }
    }
    put(&store.root(), "insert_log/1/2/0/100", 0..2);
    let listed = all(&store.objects, &wanted).await;
    assert_eq!(store.lists(), 1);
    assert_eq!(listed.len(), 400);
    assert_eq!(listed, one_by_one(&store.objects, &wanted).await);
}

#[tokio::test]
async fn listing_together_finds_what_listing_each_finds_and_asks_no_more_often() {
    let store = Store::new().await;
    let root = store.root();
    // strangers that fill pages, directories of more than a page, of exactly one, and of none
    put(&root, "delta_log/1/2/7", 0..3);
    put(&root, "insert_log/1/2/10", 0..400);
    put(&root, "insert_log/1/2/11", 0..1100);
    put(&root, "insert_log/1/2/12", 0..600);
    put(&root, "insert_log/1/2/120", 0..5);
    put(&root, "insert_log/1/2/13", 0..500);
    put(&root, "insert_log/1/2/14", 0..500);
    put(&root, "insert_log/1/2/15", 0..2300);
    put(&root, "insert_log/1/2/9", 0..1);
    let wanted = |directories: &[(&str, usize)]| -> Directories {
        directories
            .iter()
            .map(|(directory, files)| (format!("{directory}/"), Expected::below(*files)))
            .collect()
    };
    let cases = [
        wanted(&[("insert_log/1/2/10", 400), ("insert_log/1/2/12", 600)]),
        wanted(&[("insert_log/1/2/13", 500), ("insert_log/1/2/14", 500)]),
        wanted(&[("delta_log/1/2/7", 3), ("insert_log/1/2/10", 400), ("insert_log/1/2/9", 1)]),
        wanted(&[
            ("insert_log/1/2/12", 600),
            ("insert_log/1/2/120", 5),
            ("insert_log/1/2/15", 2300),
        ]),
        // of more than was expected
        wanted(&[
            ("insert_log/1/2/10", 1),
            ("insert_log/1/2/11", 1),
            ("insert_log/1/2/12", 1),
            ("insert_log/1/2/9", 1),
        ]),
    ];
    for directories in cases {
        let before = store.lists();
        let listed = all(&store.objects, &directories).await;
        let asked = store.lists() - before;
        let each = one_by_one(&store.objects, &directories).await;
        assert_eq!(listed, each, "{directories:?}");
        let pages = store.lists() - before - asked;
        assert!(asked <= pages, "{asked} requests instead of {pages}: {directories:?}");
    }
    let whole = wanted(&[("insert_log/1/2/10", 400), ("insert_log/1/2/15", 2300), ("x", 0)]);
    assert_eq!(requests_at_most(&whole), 1 + 3 + 1);
}

#[tokio::test]
async fn what_is_missing_is_not_found_whatever_was_expected() {
    let store = Store::new().await;
    put(&store.root(), "insert_log/1/2/10", 0..4);
    put(&store.root(), "insert_log/1/2/13", 0..4);
    let directories = Directories::from([
        ("insert_log/1/2/10/".into(), Expected::below(5)),
        ("insert_log/1/2/11/".into(), Expected::below(3)),
        ("insert_log/1/2/12/".into(), Expected::below(0)),
        ("insert_log/1/2/13/".into(), Expected::below(4)),
    ]);
    assert_eq!(all(&store.objects, &directories).await.len(), 8);
    // its own listing has said so of each that lacks something
    assert_eq!(store.lists(), 3);
    assert!(all(&store.objects, &Directories::new()).await.is_empty());
    let nothing = Directories::from([("no/1/".into(), Expected::below(2)), ("no/2/".into(), Expected::below(2))]);
    assert!(all(&store.objects, &nothing).await.is_empty());
}

#[tokio::test]
async fn a_store_that_lists_in_no_order_is_asked_for_each_directory() {
    let (files, spoil) = (TempDir::new().expect("a directory"), Spoil::default());
    let (url, options) = s3::start_with_etags(files.path(), spoil.clone()).await;
    let objects = Objects::open(url, options).expect("opened");
    let mut directories = Directories::new();
    for id in 10..20 {
        put(&root(files.path()), &format!("insert_log/1/2/{id}"), 0..3);
        directories.insert(format!("insert_log/1/2/{id}/"), Expected::below(3));
    }
    spoil.lock().expect("not poisoned").backwards = true;
    let listed = all(&objects, &directories).await;
    assert_eq!(listed.len(), 30);
    assert_eq!(listed, one_by_one(&objects, &directories).await);
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_requests_and_each_gets_its_own() {
    let store = Store::new().await;
    let mut asked = Vec::new();
    for id in 10..30 {
        put(&store.root(), &format!("insert_log/1/2/{id}"), 0..id);
        asked.push(Directories::from([(format!("insert_log/1/2/{id}/"), Expected::below(id))]));
    }
    let answers = join_all(asked.iter().map(|one| store.objects.list_together(one.clone()))).await;
    assert_eq!(store.lists(), 2, "one of the first, one of all others");
    for (wanted, answer) in asked.iter().zip(answers) {
        let found: HashSet<_> = answer
            .expect("listed")
            .into_iter()
            .map(|(key, e)| (key, e.size_bytes))
            .collect();
        assert_eq!(found, one_by_one(&store.objects, wanted).await);
    }
    let again = store.objects.list_together(asked[0].clone()).await;
    assert_eq!(again.expect("listed").len(), 10, "the next one begins anew");
}

#[tokio::test]
async fn while_copies_are_made_a_listing_waits_for_more_to_list() {
    let store = Store::new().await;
    put(&store.root(), "source", 1..2);
    let asked: Vec<Directories> = (10..14)
        .map(|id| Directories::from([(format!("insert_log/1/2/{id}/"), Expected::below(1))]))
        .collect();
    (10..14).for_each(|id| put(&store.root(), &format!("insert_log/1/2/{id}"), 0..1));
    store
        .faults
        .set(|call| call.is_copy().then_some(Fault::Slow(Duration::from_secs(55))));
    let objects = store.objects.clone();
    let copying = tokio::spawn(async move {
        let file = CopyFile {
            source: "source/0001",
            target: "target/0001",
            size_bytes: 1,
            etag: None,
        };
        objects.copy(&file).await
    });
    store.faults.seen(Call::is_copy).await;
    let answers = join_all(asked.iter().map(|one| store.objects.list_copies(one.clone()))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|found| found.len() == 1)));
    assert_eq!(store.lists(), 1, "nobody's begins before the others ask");
    copying.abort();
}

#[tokio::test]
async fn what_goes_wrong_for_all_together_is_the_fault_of_one_only() {
    let store = Store::new().await;
    let asked: Vec<Directories> = (10..14)
        .map(|id| Directories::from([(format!("insert_log/1/2/{id}/"), Expected::below(1))]))
        .collect();
    (10..14).for_each(|id| put(&store.root(), &format!("insert_log/1/2/{id}"), 0..1));
    store.faults.set(|call| {
        let is_refused = call.query.contains("start-after") || call.query.contains("2%2F12%2F") || call.query.contains("2/12/");
        (is_list(call) && is_refused).then_some(Fault::Refuse(403, "AccessDenied"))
    });
    let answers = join_all(asked.iter().map(|one| store.objects.list_together(one.clone()))).await;
    let found: Vec<bool> = answers
        .iter()
        .map(|a| a.as_ref().is_ok_and(|listed| listed.len() == 1))
        .collect();
    assert_eq!(found, [true, true, false, true]);
}

#[tokio::test]
async fn a_store_that_refuses_to_list_several_is_asked_for_each() {
    let store = Store::new().await;
    let mut wanted = Directories::new();
    for id in 10..30 {
        put(&store.root(), &format!("insert_log/1/2/{id}"), 0..2);
        wanted.insert(format!("insert_log/1/2/{id}/"), Expected::below(2));
    }
    store.faults.set(|call| {
        let is_joined = is_list(call) && call.query.contains("start-after");
        is_joined.then_some(Fault::Refuse(400, "InvalidArgument"))
    });
    assert_eq!(all(&store.objects, &wanted).await.len(), 40);
}

#[tokio::test]
async fn directories_with_much_between_them_are_listed_each_by_itself() {
    let store = Store::new().await;
    let mut wanted = Directories::new();
    for id in (10..18).step_by(2) {
        put(&store.root(), &format!("index_files/{id}"), 0..3);
        put(&store.root(), &format!("index_files/{}", id + 1), 0..1200);
        wanted.insert(format!("index_files/{id}/"), Expected::below(3));
    }
    assert_eq!(all(&store.objects, &wanted).await.len(), 12);
    let joined = |call: &Call| is_list(call) && call.query.contains("start-after");
    assert_eq!(
        (store.lists(), store.faults.calls(joined).len()),
        (4, 1),
        "a look, and it gives up"
    );
}

#[tokio::test]
async fn whoever_began_to_list_for_all_may_be_given_up() {
    let store = Store::new().await;
    put(&store.root(), "insert_log/1/2/10", 0..1);
    put(&store.root(), "insert_log/1/2/11", 0..1);
    let first = Directories::from([("insert_log/1/2/10/".into(), Expected::below(1))]);
    let second = Directories::from([("insert_log/1/2/11/".into(), Expected::below(1))]);
    {
        let begins = store.objects.list_together(first);
        futures::pin_mut!(begins);
        assert!(futures::poll!(begins.as_mut()).is_pending());
    }
    let found = store.objects.list_together(second).await.expect("listed");
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_directory_of_many_files_and_nothing_below_is_asked_for_without_others_and_without_a_wait() {
    let store = Store::new().await;
    let mut wanted = Directories::new();
    for id in 10..13 {
        put(&store.root(), &format!("index_files/{id}/100"), 0..60);
        wanted.insert(format!("index_files/{id}/100/"), Expected::inside(60));
    }
    put(&store.root(), "index_files/11/100/deeper", 0..5);
    for id in 20..23 {
        put(&store.root(), &format!("index_files/{id}/100"), 0..2);
        wanted.insert(format!("index_files/{id}/100/"), Expected::inside(2));
    }
    let listed = store.objects.list_copies(wanted).await.expect("listed");
    assert_eq!(listed.len(), 3 * 60 + 3 * 2);
    assert!(!listed.keys().any(|key| key.contains("deeper")), "nobody asked for it");
    let of_one = |call: &Call| is_list(call) && call.query.contains("delimiter=");
    assert_eq!((store.lists(), store.faults.calls(of_one).len()), (4, 3));
}

#[tokio::test]
async fn small_directories_among_large_ones_share_a_request() {
    let store = Store::new().await;
    let mut wanted = Directories::new();
    for id in 10..20 {
        let files = if id % 2 == 0 { 60 } else { 3 };
        put(&store.root(), &format!("index_files/{id}/100"), 0..files);
        wanted.insert(format!("index_files/{id}/100/"), Expected::inside(files));
    }
    assert_eq!(all(&store.objects, &wanted).await.len(), 5 * 60 + 5 * 3);
    assert_eq!(store.lists(), 5 + 1);
}

#[tokio::test]
async fn what_two_callers_ask_for_may_overlap() {
    let store = Store::new().await;
    put(&store.root(), "insert_log/1/2/10/100", 0..3);
    put(&store.root(), "insert_log/1/2/10/101", 0..3);
    let wanted = Directories::from([
        ("insert_log/1/2/10/".into(), Expected::below(6)),
        ("insert_log/1/2/10/100/".into(), Expected::inside(3)),
    ]);
    assert_eq!(all(&store.objects, &wanted).await.len(), 6);
}

#[tokio::test]
async fn a_directory_of_many_files_that_lacks_one_is_told_so() {
    let store = Store::new().await;
    put(&store.root(), "index_files/10/100", 0..1100);
    let wanted = Directories::from([("index_files/10/100/".into(), Expected::inside(1101))]);
    let listed = store.objects.list_together(wanted).await.expect("listed");
    assert_eq!((listed.len(), store.lists()), (1100, 2), "two pages");
}
