//! The object storage: what it can do, how fast it copies, and whose it is.

use std::path::Path;
use std::time::Instant;

use futures::{StreamExt as _, stream};

use super::Report;
use super::database::Catalog;
use crate::config::Config;
use crate::domain::{Code, Error, Result};
use crate::objects::marker::{self, Owner};
use crate::objects::{CopyFallback, CopyFile, CopyOutcome, Objects, Scratch, StorageOptions, StorageUrl};

/// Copies that are timed: how many at once, of how many bytes, and how many in all.
const SMALL: (usize, usize, usize) = (16, 64 * 1024, 64);
const LARGE: (usize, usize, usize) = (4, 8 * 1024 * 1024, 4);
/// The smallest object whose two halves are parts that every store accepts.
const IN_PARTS: usize = 10 * 1024 * 1024;

pub(super) async fn examine(config: &Config, catalog: Option<Catalog>, report: &mut Report) {
    const CHECK: &str = "storage";
    if let StorageUrl::Local { path } = &config.storage
        && !path.exists()
    {
        not_made_yet(path, catalog, report);
        return;
    }
    let objects = match Objects::open(config.storage.clone(), config.storage_options.clone()) {
        Ok(objects) => objects,
        Err(error) => {
            report.failed(CHECK, told(&error), advice(&error));
            return;
        }
    };
    let scratch = objects.scratch();
    let usable = basics(&objects, &scratch, report).await;
    if usable {
        conditions(&objects, &scratch, report).await;
        parts(config, &scratch, report).await;
        speed(&objects, &scratch, report).await;
    }
    let left = objects.delete(scratch.keys().to_vec()).await;
    if let Some((_, error)) = left.into_iter().find(|_| usable) {
        let advice = "the collector must be allowed to delete, such as by s3:DeleteObject";
        report.failed("storage_delete", told(&error), advice);
    } else if usable {
        report.ok("storage_delete", "objects can be deleted");
    }
    if usable {
        whose(&objects, catalog, report).await;
    }
}

fn not_made_yet(path: &Path, catalog: Option<Catalog>, report: &mut Report) {
    let detail = format!("{} does not exist", path.display());
    if catalog.is_some_and(|c| c.in_use) {
        let advice = "the catalog knows of files there: is the disk mounted, and the setting right?";
        report.failed("storage", detail, advice);
        return;
    }
    let parent = path.ancestors().find(|p| p.exists()).unwrap_or(path);
    let may = nix::unistd::access(parent, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK);
    match may {
        Ok(()) if parent.is_dir() => report.skipped("storage", format!("{detail}; the first start makes it")),
        _ => report.failed(
            "storage",
            format!("{detail}, and it can't be made in {}", parent.display()),
            "make the directory and give it to the user of the service, or set --storage or --data-dir",
        ),
    }
}

/// What nothing works without.
async fn basics(objects: &Objects, scratch: &Scratch, report: &mut Report) -> bool {
    const CONTENT: &[u8] = b"stillframe doctor";
    let keys = scratch.keys();
    let (first, second) = (keys[0].as_str(), keys[1].as_str());
    let mut fine = true;
    let mut check = |name: &'static str, done: Result<()>| {
        match done {
            Ok(()) => report.ok(name, "works"),
            Err(error) => {
                fine = false;
                report.failed(name, told(&error), advice(&error));
            }
        }
        fine
    };
    if !check("storage_write", objects.put(first, CONTENT.to_vec()).await) {
        return false;
    }
    let read = objects.get(first, 1024).await;
    let read = read.and_then(|bytes| expect(bytes.as_deref() == Some(CONTENT), "it gives other bytes than were written"));
    check("storage_read", read);
    let listed = objects.list(scratch.directory()).await;
    let listed = listed.and_then(|found| {
        let size = found.get(first).map(|e| e.size_bytes);
        expect(
            size == Some(CONTENT.len() as u64),
            "it does not list what was just written with its size",
        )
    });
    check("storage_list", listed);
    let copied = match copy(objects, first, second, CONTENT.len()).await {
        Ok(()) => objects
            .get(second, 1024)
            .await
            .and_then(|bytes| expect(bytes.as_deref() == Some(CONTENT), "a copy has other bytes than its source")),
        Err(error) => Err(error),
    };
    check("storage_copy", copied);
    fine
}

fn expect(fine: bool, what: &str) -> Result<()> {
    if fine {
        Ok(())
    } else {
        Err(Code::StorageUnavailable.error(what))
    }
}

async fn copy(objects: &Objects, source: &str, target: &str, size: usize) -> Result<()> {
    let file = CopyFile {
        source,
        target,
        size_bytes: size as u64,
        etag: None,
    };
    objects.copy(&file).await.map_err(|outcome| match outcome {
        CopyOutcome::SourceMissing => Code::StorageUnavailable.error("it does not find an object right after it was written"),
        CopyOutcome::Throttled(error) | CopyOutcome::Retry(error) | CopyOutcome::Fail(error) => error,
    })
}

/// Good to know; nothing relies on it.
async fn conditions(objects: &Objects, scratch: &Scratch, report: &mut Report) {
    match objects.honours_conditions(&scratch.keys()[0]).await {
        Ok(true) => report.ok(
            "storage_conditional_write",
            "a conditional write is refused when the object exists",
        ),
        Ok(false) => report.ok(
            "storage_conditional_write",
            "conditional writes are not supported; Stillframe does not rely on them",
        ),
        Err(error) => report.warning(
            "storage_conditional_write",
            told(&error),
            "nothing: Stillframe does not rely on it",
        ),
    }
}

async fn parts(config: &Config, scratch: &Scratch, report: &mut Report) {
    const CHECK: &str = "storage_copy_in_parts";
    if !matches!(config.storage, StorageUrl::S3 { .. }) {
        report.skipped(CHECK, "only S3 copies large objects in parts");
        return;
    }
    let options = StorageOptions {
        multipart_above: 1,
        copy_fallback: CopyFallback::Off,
        ..config.storage_options.clone()
    };
    let copied = async {
        let objects = Objects::open(config.storage.clone(), options)?;
        let keys = scratch.keys();
        objects.put(&keys[0], vec![b'x'; IN_PARTS]).await?;
        copy(&objects, &keys[0], &keys[1], IN_PARTS).await?;
        let size = objects.size(&keys[1]).await?;
        expect(
            size == Some(IN_PARTS as u64),
            "a copy in parts has another size than its source",
        )
    };
    match copied.await {
        Ok(()) => report.ok(CHECK, "works"),
        Err(error) if error.code() == Code::PartCopyUnsupported && config.storage_options.copy_fallback == CopyFallback::Stream => {
            report.ok(CHECK, "not supported; bytes of large objects go through the service");
        }
        Err(error) if error.code() == Code::PartCopyUnsupported => report.warning(
            CHECK,
            "the store can't copy parts of objects",
            "objects above --multipart-above-bytes can't be restored: say --copy-fallback stream, or raise that setting to 5 GiB at most",
        ),
        Err(error) => report.failed(CHECK, told(&error), advice(&error)),
    }
}

async fn speed(objects: &Objects, scratch: &Scratch, report: &mut Report) {
    let timed = async {
        let small = timed(objects, scratch, SMALL).await?;
        let large = timed(objects, scratch, LARGE).await?;
        let megabytes = (LARGE.1 * LARGE.2) as f64 / 1e6;
        Ok::<_, Error>(format!(
            "{:.0} files/s ({} of 64 KiB, {} at once), {:.0} MB/s ({} of 8 MiB); `stillframe bench restore` measures a restore",
            SMALL.2 as f64 / small,
            SMALL.2,
            SMALL.0,
            megabytes / large,
            LARGE.2
        ))
    };
    match timed.await {
        Ok(text) => report.ok("copy_speed", text),
        Err(error) => report.failed("copy_speed", told(&error), advice(&error)),
    }
}

/// Seconds that copies of one object took.
async fn timed(objects: &Objects, scratch: &Scratch, (at_once, size, count): (usize, usize, usize)) -> Result<f64> {
    let source = scratch.keys()[0].as_str();
    objects.put(source, vec![b'x'; size]).await?;
    let began = Instant::now();
    let targets = &scratch.keys()[1..=count];
    let mut copies = stream::iter(targets)
        .map(|target| copy(objects, source, target, size))
        .buffer_unordered(at_once);
    while let Some(copied) = copies.next().await {
        copied?;
    }
    Ok(began.elapsed().as_secs_f64().max(1e-6))
}

async fn whose(objects: &Objects, catalog: Option<Catalog>, report: &mut Report) {
    const CHECK: &str = "marker";
    let owner = match marker::owner(objects).await {
        Ok(owner) => owner,
        Err(error) => {
            report.failed(CHECK, told(&error), advice(&error));
            return;
        }
    };
    let take_over = "use another prefix or database, or, if the other catalog is gone for good, say --take-over once";
    match (owner, catalog) {
        (Owner::Nobody, Some(catalog)) if catalog.in_use => report.failed(
            CHECK,
            format!("the catalog knows segments or snapshots, and {} has no marker", objects.url()),
            "is it the right bucket, prefix or disk, and mounted?",
        ),
        (Owner::Nobody, _) => report.ok(CHECK, format!("{} belongs to no catalog yet", objects.url())),
        (Owner::Unreadable, _) => report.failed(CHECK, "the marker stillframe.json can't be read", take_over),
        (Owner::Catalog(owner), Some(catalog)) if owner != catalog.id => report.failed(
            CHECK,
            format!(
                "{} belongs to catalog {owner}, the database is catalog {}",
                objects.url(),
                catalog.id
            ),
            take_over,
        ),
        (Owner::Catalog(owner), Some(_)) => report.ok(CHECK, format!("{} belongs to this catalog, {owner}", objects.url())),
        (Owner::Catalog(owner), None) => report.warning(
            CHECK,
            format!(
                "{} belongs to catalog {owner}, and there is no database to compare with",
                objects.url()
            ),
            "a database without that catalog will be refused here",
        ),
    }
}

fn told(error: &Error) -> String {
    let cause = error.cause_chain();
    if cause.is_empty() {
        error.to_string()
    } else {
        format!("{error} ({cause})")
    }
}

/// What to do about a storage call that failed.
fn advice(error: &Error) -> &'static str {
    let cause = error.cause_chain();
    match error.code() {
        Code::StorageAccessDenied => {
            "give the service's user the directory, or its key the permissions to list, read, write, copy and delete below the prefix; are \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY those of this server?"
        }
        Code::InsufficientStorage => "make room",
        _ if cause.contains("NoSuchBucket") => "make the bucket, or correct its name in --storage",
        _ => "is the store up, and are endpoint, region, bucket or directory in --storage right?",
    }
}
