//! Compares the restored collection with the fixture: ids, rows, and every byte of every file.

use std::collections::{BTreeMap, BTreeSet};

use super::super::failure::Failure;
use super::check::{failed, same};
use super::fixture;
use super::model::{Collection, Index, Segment};
use super::place::Place;

/// What was found to be equal.
#[derive(Debug, Default)]
pub struct Proof {
    pub segments: u64,
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
}

/// One side of the comparison.
#[derive(Debug)]
pub struct Side<'a> {
    pub collection: &'a Collection,
    pub segments: &'a [Segment],
}

/// Compares definitions: fields, partitions, channels with their positions, indexes.
///
/// # Errors
/// The first difference.
pub fn definitions(source: &Collection, target: &Collection, from: &mut [Index], to: &mut [Index]) -> Result<(), Failure> {
    let names = |c: &Collection| c.partitions.iter().map(|p| p.name.clone()).collect::<BTreeSet<_>>();
    same("fields", &source.fields, &target.fields)?;
    same("partitions", &names(source), &names(target))?;
    same("channels", &source.channels.len(), &target.channels.len())?;
    for (shard, (a, b)) in source.channels.iter().zip(&target.channels).enumerate() {
        same(&format!("seek position of shard {shard}"), &a.seek_position, &b.seek_position)?;
    }
    from.sort();
    to.sort();
    same("indexes", &&*from, &&*to)
}

/// Compares segments: each restored one with the one that it was copied from. `origin` gives the
/// source's id by the target's.
///
/// # Errors
/// The first difference.
pub fn segments(
    source: &Side<'_>,
    target: &Side<'_>,
    origin: &BTreeMap<String, String>,
    place: &Place,
) -> Result<Proof, Failure> {
    same("segments", &source.segments.len(), &target.segments.len())?;
    let mut proof = Proof::default();
    let mut seen = BTreeSet::new();
    for restored in target.segments {
        let id = &restored.segment_id;
        let from = origin
            .get(id)
            .ok_or_else(|| failed(format!("no task of the job made segment {id}")))?;
        let captured = source.segments.iter().find(|s| s.segment_id == *from);
        let captured =
            captured.ok_or_else(|| failed(format!("segment {id} comes from {from}, which the snapshot does not hold")))?;
        let at = |side: &Side<'_>, s: &Segment| {
            (
                side.collection.partition(&s.partition_id).map(String::from),
                side.collection.shard(&s.channel_name),
            )
        };
        same(&format!("rows of segment {id}"), &captured.num_of_rows, &restored.num_of_rows)?;
        same(
            &format!("partition and shard of segment {id}"),
            &at(source, captured),
            &at(target, restored),
        )?;
        files(captured, restored, place, &mut seen, &mut proof)?;
        proof.segments += 1;
        proof.rows += restored.num_of_rows;
    }
    let embedded: BTreeSet<&str> = fixture::FILES.iter().map(|(path, _)| *path).collect();
    let compared: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
    same("files that were restored", &embedded, &compared)?;
    Ok(proof)
}

fn files(from: &Segment, to: &Segment, place: &Place, seen: &mut BTreeSet<String>, proof: &mut Proof) -> Result<(), Failure> {
    let (source, target) = (from.files(), to.files());
    let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
    same(
        &format!("files of segment {}", to.segment_id),
        &names(&source),
        &names(&target),
    )?;
    for (source, target) in source.values().zip(target.values()) {
        let (was, is) = (&source.path, &target.path);
        if was == is {
            return Err(failed(format!("{is} was not copied: source and target share it")));
        }
        let expected = fixture::content(was).ok_or_else(|| failed(format!("{was} is no file of the fixture")))?;
        let found = std::fs::read(place.object(is)).map_err(|e| failed(format!("{is} can't be read: {e}")))?;
        same(&format!("recorded size of {is}"), &target.size_bytes, &(found.len() as u64))?;
        if found != expected {
            let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Err(failed(format!("{is} differs from {was} from byte {at} on")));
        }
        seen.insert(was.clone());
        proof.files += 1;
        proof.bytes += found.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::exit;
    use super::super::model::{FieldLogs, File, Log};
    use super::*;

    const DELTA: &str = "delta_log/470644622231601173/470644622231601174/470644622231801182/470644622231801231";

    fn segment(path: &str, size_bytes: u64) -> Segment {
        let log = Log {
            log_id: "1".into(),
            file: File {
                path: path.into(),
                size_bytes,
            },
        };
        Segment {
            segment_id: path.into(),
            partition_id: "1".into(),
            channel_name: "c".into(),
            num_of_rows: 1,
            binlogs: vec![],
            deltalogs: vec![FieldLogs {
                field_id: "0".into(),
                logs: vec![log],
            }],
            statslogs: vec![],
            index_builds: vec![],
        }
    }

    /// Compares a restored delta log of this content with the fixture's.
    fn compared(content: &[u8]) -> Result<Proof, Failure> {
        let place = Place::prepare(None, false)?;
        std::fs::create_dir_all(place.object("")).map_err(anyhow::Error::new)?;
        std::fs::write(place.object("copy"), content).map_err(anyhow::Error::new)?;
        let size = fixture::content(DELTA).map_or(0, |c| c.len() as u64);
        let (mut seen, mut proof) = (BTreeSet::new(), Proof::default());
        files(&segment(DELTA, size), &segment("copy", size), &place, &mut seen, &mut proof)?;
        Ok(proof)
    }

    #[test]
    fn one_wrong_byte_or_a_missing_one_is_found() {
        let mut content = fixture::content(DELTA).expect("embedded").to_vec();
        assert_eq!(compared(&content).expect("equal").bytes, content.len() as u64);
        let short = compared(&content[1..]).expect_err("shorter");
        assert!(short.text().contains("recorded size of copy"), "{}", short.text());
        content[100] ^= 1;
        let wrong = compared(&content).expect_err("another byte");
        assert!(
            wrong.text().contains("copy differs from delta_log/") && wrong.text().ends_with("from byte 100 on"),
            "{}",
            wrong.text()
        );
        assert_eq!(wrong.exit_code(), exit::FAILURE);
    }
}
