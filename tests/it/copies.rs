//! Copies of large objects: in parts, pinned, and nothing left behind.

use std::time::Duration;

use stillframe::domain::Code;
use stillframe::objects::{CopyFallback, CopyFile, CopyOutcome, Objects, StorageOptions};
use tempfile::TempDir;

use crate::support::faults::{Call, Fault, Faults};
use crate::support::s3;

const MIB: usize = 1024 * 1024;
const SIZE: usize = 11 * MIB + 7;

struct Large {
    objects: Objects,
    faults: Faults,
    directory: TempDir,
    bytes: Vec<u8>,
}

impl Large {
    /// An S3 server with one object above the threshold.
    async fn new(change: impl FnOnce(&mut StorageOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let faults = Faults::default();
        let (url, mut options) = s3::start_behind(directory.path(), faults.clone()).await;
        options.multipart_above = 10 * MIB as u64;
        change(&mut options);
        let objects = Objects::open(url, options).expect("opens");
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 1000 % 251) as u8).collect();
        objects.put("large", bytes.clone()).await.expect("written");
        Self {
            objects,
            faults,
            directory,
            bytes,
        }
    }

    async fn copy(&self) -> Result<(), CopyOutcome> {
        copy(&self.objects).await
    }

    async fn copied_whole(&self) {
        let copied = self.objects.get("copy", SIZE as u64).await.expect("read").expect("there");
        assert!(copied == self.bytes, "other bytes");
        self.no_upload();
    }

    async fn nothing_left(&self) {
        assert_eq!(self.objects.get("copy", SIZE as u64).await.expect("read"), None);
        self.no_upload();
    }

    #[track_caller]
    fn no_upload(&self) {
        assert_eq!(s3::open_uploads(self.directory.path()), Vec::<String>::new());
    }
}

async fn copy(objects: &Objects) -> Result<(), CopyOutcome> {
    let file = CopyFile {
        source: "large",
        target: "copy",
        size_bytes: SIZE as u64,
        etag: None,
    };
    objects.copy(&file).await
}

/// Breaks the first calls that fit.
fn first(count: usize, fits: fn(&Call) -> bool, fault: fn() -> Fault) -> impl FnMut(&Call) -> Option<Fault> {
    let mut met = 0;
    move |call| {
        met += usize::from(fits(call));
        (fits(call) && met <= count).then(fault)
    }
}

#[tokio::test]
async fn a_large_object_is_copied_in_parts_that_are_pinned_to_its_etag() {
    let large = Large::new(|_| {}).await;
    large.copy().await.expect("copied");
    large.copied_whole().await;
    let parts = large.faults.calls(Call::is_part_copy);
    assert_eq!(parts.len(), 2);
    let pins: Vec<&str> = parts
        .iter()
        .map(|p| p.headers["x-amz-copy-source-if-match"].to_str().expect("text"))
        .collect();
    assert!(
        pins[0] == pins[1] && pins[0].starts_with('"') && pins[0].len() == 34,
        "{pins:?}"
    );
    assert_eq!(large.faults.calls(Call::is_copy).len(), 0);
}

#[tokio::test]
async fn parts_are_pinned_to_the_etag_of_the_registration_without_a_look_at_the_source() {
    let large = Large::new(|_| {}).await;
    large
        .faults
        .set(|call| call.is_part_copy().then_some(Fault::Refuse(412, "PreconditionFailed")));
    let file = CopyFile {
        source: "large",
        target: "copy",
        size_bytes: SIZE as u64,
        etag: Some("0123456789abcdef0123456789abcdef"),
    };
    let Err(CopyOutcome::Fail(error)) = large.objects.copy(&file).await else {
        panic!("another source");
    };
    assert_eq!(error.code(), Code::FileChanged);
    assert!(error.to_string().contains("source file large "), "{error}");
    let part = large.faults.calls(Call::is_part_copy).remove(0);
    assert_eq!(
        part.headers["x-amz-copy-source-if-match"],
        "\"0123456789abcdef0123456789abcdef\""
    );
    assert_eq!(large.faults.calls(|c| c.method == "HEAD").len(), 0);
    large.nothing_left().await;
    assert_eq!(large.faults.calls(Call::is_abort).len(), 1);
}

#[tokio::test]
async fn a_recorded_etag_that_is_no_sum_gives_way_to_todays_where_the_size_is_right() {
    const RECORDED: &str = "0123456789abcdef0123456789abcdef-3";
    let other = |call: &Call| {
        let pin = call.headers.get("x-amz-copy-source-if-match");
        call.is_part_copy() && pin.is_some_and(|pin| pin.as_bytes().windows(RECORDED.len()).any(|w| w == RECORDED.as_bytes()))
    };
    let large = Large::new(|_| {}).await;
    large
        .faults
        .set(move |call| other(call).then_some(Fault::Refuse(412, "PreconditionFailed")));
    let file = CopyFile {
        source: "large",
        target: "copy",
        size_bytes: SIZE as u64,
        etag: Some(RECORDED),
    };
    large.objects.copy(&file).await.expect("its bytes may be the same");
    assert_eq!(large.faults.calls(|c| c.method == "HEAD").len(), 1);
    large.copied_whole().await;
    let pinned = large.faults.calls(|c| c.is_part_copy() && !other(c));
    assert_eq!(pinned.len(), 2, "every part anew");
    assert!(
        pinned.iter().all(|p| p.headers["x-amz-copy-source-if-match"].len() == 34),
        "{pinned:?}"
    );

    // one of another size was changed, and so was one that changes while it is copied
    let of_another_size = CopyFile {
        size_bytes: SIZE as u64 - 1,
        ..file
    };
    large.objects.delete(vec!["copy".into()]).await;
    assert!(matches!(large.objects.copy(&of_another_size).await, Err(CopyOutcome::Fail(e)) if e.code() == Code::FileChanged));
    large.nothing_left().await;
    large
        .faults
        .set(|call| call.is_part_copy().then_some(Fault::Refuse(412, "PreconditionFailed")));
    assert!(matches!(large.objects.copy(&file).await, Err(CopyOutcome::Fail(e)) if e.code() == Code::FileChanged));
    large.nothing_left().await;
}

#[tokio::test]
async fn a_part_that_fails_or_is_throttled_is_tried_again() {
    let large = Large::new(|_| {}).await;
    large
        .faults
        .set(first(2, Call::is_part_copy, || Fault::Refuse(500, "InternalError")));
    large.copy().await.expect("copied");
    large.copied_whole().await;
    assert_eq!(large.objects.copy_limit(), 32);
    large
        .faults
        .set(first(3, Call::is_part_copy, || Fault::Refuse(503, "SlowDown")));
    large.copy().await.expect("copied");
    large.copied_whole().await;
    assert!(large.objects.copy_limit() < 32);
}

#[tokio::test]
async fn a_copy_in_parts_that_can_not_be_done_leaves_no_upload() {
    let large = Large::new(|_| {}).await;
    type Breaks = fn(&Call) -> bool;
    let steps: [Breaks; 3] = [Call::is_initiate, Call::is_part_copy, Call::is_complete];
    for breaks in steps {
        large
            .faults
            .set(move |call| breaks(call).then_some(Fault::Refuse(500, "InternalError")));
        assert!(matches!(large.copy().await, Err(CopyOutcome::Retry(_))));
        large.nothing_left().await;
    }
    // also when the abort itself is refused at first
    let mut refused = false;
    large.faults.set(move |call| {
        let refuse = call.is_part_copy() || call.is_abort() && !std::mem::replace(&mut refused, true);
        refuse.then_some(Fault::Refuse(403, "AccessDenied"))
    });
    assert!(matches!(large.copy().await, Err(CopyOutcome::Fail(e)) if e.code() == Code::StorageAccessDenied));
    large.nothing_left().await;
}

#[tokio::test]
async fn a_copy_in_parts_whose_asker_goes_away_is_aborted() {
    type Waits = fn(&Call) -> bool;
    let steps: [Waits; 3] = [Call::is_initiate, Call::is_part_copy, Call::is_complete];
    for waits in steps {
        let large = Large::new(|_| {}).await;
        large
            .faults
            .set(move |call| waits(call).then_some(Fault::Slow(Duration::from_millis(300))));
        let objects = large.objects.clone();
        let asker = tokio::spawn(async move { copy(&objects).await });
        large.faults.seen(waits).await;
        asker.abort();
        assert!(asker.await.expect_err("gone").is_cancelled());
        large.objects.settle(Duration::from_secs(30)).await;
        large.no_upload();
        let completed = large.faults.calls(Call::is_complete).len();
        assert_eq!(large.faults.calls(Call::is_abort).len(), 1 - completed);
        if completed == 0 {
            large.nothing_left().await;
        }
    }
}

#[tokio::test]
async fn a_store_without_part_copies_is_an_error_or_bytes_go_through_the_service() {
    let refuse = |call: &Call| call.is_part_copy().then_some(Fault::Refuse(501, "NotImplemented"));
    let large = Large::new(|_| {}).await;
    large.faults.set(refuse);
    let Err(CopyOutcome::Fail(error)) = large.copy().await else {
        panic!("can't be done");
    };
    assert_eq!(error.code(), Code::PartCopyUnsupported);
    assert!(error.to_string().contains("copy_fallback=stream"), "{error}");
    large.nothing_left().await;

    let large = Large::new(|options| options.copy_fallback = CopyFallback::Stream).await;
    large.faults.set(refuse);
    large.copy().await.expect("streamed");
    large.copied_whole().await;
    // a streamed copy is pinned too, and leaves nothing either
    large.objects.delete(vec!["copy".into()]).await;
    large.faults.set(move |call| {
        let changed = call.method == "GET" && call.headers.contains_key("if-match");
        if changed {
            Some(Fault::Refuse(412, "PreconditionFailed"))
        } else {
            refuse(call)
        }
    });
    assert!(matches!(large.copy().await, Err(CopyOutcome::Fail(e)) if e.code() == Code::FileChanged));
    large.nothing_left().await;
}

#[tokio::test]
async fn a_small_source_that_was_changed_is_found_by_the_answer_to_its_copy() {
    let large = Large::new(|_| {}).await;
    large.objects.put("small", b"registered".to_vec()).await.expect("written");
    let file = |etag| CopyFile {
        source: "small",
        target: "copy",
        size_bytes: 10,
        etag: Some(etag),
    };
    let wrong = large.objects.copy(&file("0123456789abcdef0123456789abcdef")).await;
    assert!(matches!(wrong, Err(CopyOutcome::Fail(e)) if e.code() == Code::FileChanged));
    let before = large.faults.calls(|c| c.method == "HEAD").len();
    // md5 of its bytes
    large
        .objects
        .copy(&file("a2b8ed9c305b8ea86116b603cca78a97"))
        .await
        .expect("unchanged");
    large.objects.copy(&file("not-an-md5")).await.expect("not comparable");
    assert_eq!(
        large.faults.calls(|c| c.method == "HEAD").len(),
        before,
        "one request per file"
    );
}
