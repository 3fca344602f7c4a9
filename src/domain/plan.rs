//! What a restore would do, and what stands against it.

use super::problem::Problems;
use super::schema::Params;
use super::{Code, Error};

/// The room that a restore has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Free bytes of the filesystem, less those that running jobs have yet to copy; none where the store
    /// does not tell.
    pub free_bytes: Option<i64>,
    /// Bytes that running jobs have yet to copy into the own storage.
    pub claimed_bytes: i64,
    /// The setting; none: no quota.
    pub quota_bytes: Option<i64>,
    /// Bytes of the owned segments and index builds in the catalog; known where there is a quota.
    pub used_bytes: Option<i64>,
}

impl Room {
    /// Why there is no room for so many bytes, with the figures; none when there is. Who reads it need not
    /// know how much everybody together uses.
    pub fn lacks(&self, needed: i64) -> Option<Error> {
        if needed <= 0 {
            return None;
        }
        if let Some(free) = self.free_bytes.filter(|free| needed > *free) {
            let claimed = match self.claimed_bytes {
                0 => String::new(),
                bytes => format!("; jobs that run have yet to copy {bytes} bytes there"),
            };
            return Some(Code::InsufficientStorage.error(format!(
                "the restore needs {needed} bytes, {free} are available on the filesystem of the object storage{claimed}"
            )));
        }
        let (quota, used) = (self.quota_bytes?, self.used_bytes?);
        let available = quota.saturating_sub(used).max(0);
        (needed > available).then(|| {
            Code::InsufficientStorage.error(format!(
                "the restore needs {needed} bytes, {available} are available within the quota of the service"
            ))
        })
    }
}

/// How fast past jobs went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    pub jobs: i64,
    pub files: i64,
    pub bytes: i64,
    /// Milliseconds in which workers had them.
    pub millis: i64,
}

impl Pace {
    /// Milliseconds for so many files and bytes: by whichever of the two takes longer.
    pub fn estimate_ms(&self, files: i64, bytes: i64) -> i64 {
        let share = |part: i64, whole: i64| {
            if whole <= 0 {
                return 0;
            }
            i64::try_from(i128::from(part) * i128::from(self.millis) / i128::from(whole)).unwrap_or(i64::MAX)
        };
        share(files, self.files).max(share(bytes, self.bytes))
    }
}

/// A dry run of a restore.
#[derive(Debug)]
pub struct RestorePlan {
    pub segments: i64,
    pub index_builds: i64,
    pub files: i64,
    pub bytes: i64,
    /// LIST calls at most: to check the source directories, and to prove the target directories.
    pub list_requests: i64,
    pub copy_requests: i64,
    /// What a request would be refused for.
    pub conflicts: Vec<Error>,
    /// Source files that are not as they were recorded.
    pub problems: Problems,
    pub room: Room,
    /// Whether the caller may know how much everybody together uses.
    pub shows_quota: bool,
    pub warnings: Vec<String>,
    /// None: no job has completed yet.
    pub pace: Option<Pace>,
    /// The limit that the job would have.
    pub max_bytes_per_second: Option<i64>,
}

impl RestorePlan {
    /// Milliseconds that it will take: by the pace of past jobs, and no less than its limit says;
    /// none when neither is known.
    pub fn estimated_ms(&self) -> Option<i64> {
        let by_limit = self.max_bytes_per_second.filter(|limit| *limit > 0).map(|limit| {
            let millis = i128::from(self.bytes) * 1000 / i128::from(limit);
            i64::try_from(millis).unwrap_or(i64::MAX)
        });
        by_limit.max(self.pace.map(|p| p.estimate_ms(self.files, self.bytes)))
    }

    /// Whether nothing that was checked stands against it.
    pub fn is_feasible(&self) -> bool {
        self.conflicts.is_empty() && self.problems.total == 0 && self.room.lacks(self.bytes).is_none()
    }
}

/// The property by which the engine lets rows expire, in seconds since they were written.
pub const TTL_PROPERTY: &str = "collection.ttl.seconds";

/// A warning when every row would be expired at once: the snapshot is older than the target's TTL.
pub fn ttl_warning(properties: &Params, age_ms: i64) -> Option<String> {
    let ttl: i64 = properties.get(TTL_PROPERTY)?.trim().parse().ok()?;
    let age = age_ms / 1000;
    (ttl > 0 && age >= ttl).then(|| {
        format!(
            "the property {TTL_PROPERTY} is {ttl} and the snapshot is {age} seconds old: every restored row is expired at once; \
             set the property to another value, or to null to drop it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_named_when_there_is_no_room() {
        let room = Room {
            free_bytes: Some(10),
            claimed_bytes: 3,
            quota_bytes: Some(100),
            used_bytes: Some(95),
        };
        assert!(room.lacks(5).is_none());
        let text = room.lacks(6).expect("over the quota").to_string();
        assert!(text.contains("needs 6 bytes, 5 are available within the quota"), "{text}");
        let text = room.lacks(11).expect("disk full").to_string();
        assert!(
            text.contains("needs 11 bytes, 10 are available") && text.ends_with("have yet to copy 3 bytes there"),
            "{text}"
        );
        assert!(Room::default().lacks(i64::MAX).is_none(), "nothing is known");
    }

    #[test]
    fn the_slower_of_files_and_bytes_counts() {
        let pace = Pace {
            jobs: 1,
            files: 10,
            bytes: 1000,
            millis: 100,
        };
        assert_eq!(pace.estimate_ms(20, 10), 200);
        assert_eq!(pace.estimate_ms(1, 5000), 500);
        assert_eq!(pace.estimate_ms(0, 0), 0);
    }

    #[test]
    fn a_ttl_warns_only_when_all_rows_are_older() {
        let ttl = |text: &str| Params::from([(TTL_PROPERTY.to_string(), text.to_string())]);
        assert!(ttl_warning(&ttl("60"), 60_000).is_some());
        assert!(ttl_warning(&ttl("60"), 59_999).is_none());
        for off in ["0", "-1", "never"] {
            assert!(ttl_warning(&ttl(off), i64::MAX).is_none(), "{off}");
        }
        assert!(ttl_warning(&Params::new(), i64::MAX).is_none());
    }
}
