//! The model: what there is, who needs it, since when it is dropped. Time is in whole hours;
//! every period of the tests has half an hour more, so that no comparison is a close one.

use std::collections::BTreeMap;

/// A file: where, and what is in it.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub content: Vec<u8>,
}

#[derive(Debug)]
pub struct Collection {
    pub name: String,
    pub id: i64,
    pub partition: i64,
    pub channel: String,
    pub index: Option<i64>,
    pub living: bool,
}

#[derive(Debug)]
pub struct Build {
    pub index: i64,
    pub file: File,
    pub dropped: Option<i64>,
    pub gone: bool,
}

#[derive(Debug)]
pub struct Segment {
    pub id: i64,
    pub collection: usize,
    /// Files are only ever appended: a version is a number of them.
    pub files: Vec<File>,
    pub builds: Vec<Build>,
    pub dropped: Option<i64>,
    pub gone: bool,
}

/// What a snapshot needs of a segment.
#[derive(Debug, Clone)]
pub struct Captured {
    pub segment: usize,
    pub files: usize,
    pub builds: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its create died; the lease runs out within the hour.
    Pending {
        since: i64,
    },
    Committed,
    /// `back`: it can be taken back.
    Dropped {
        at: i64,
        back: bool,
    },
    Gone,
}

#[derive(Debug)]
pub struct Snapshot {
    pub id: String,
    pub name: String,
    pub collection: usize,
    pub life: Life,
    pub captured: Vec<Captured>,
    /// Ids, and the hour in which they end.
    pub pins: Vec<(String, Option<i64>)>,
    pub held: bool,
}

#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub snapshot: usize,
    pub target: String,
    pub ended: bool,
    pub paused: bool,
    /// It failed, as it should.
    pub failed: bool,
    /// What it copied is deleted, or is the target's.
    pub settled: bool,
}

#[derive(Debug, Default)]
pub struct World {
    pub now: i64,
    pub next_id: i64,
    pub collections: Vec<Collection>,
    pub segments: Vec<Segment>,
    pub snapshots: Vec<Snapshot>,
    pub jobs: Vec<Job>,
    /// Workers that died: a task whose worker dies again and again fails its job.
    pub deaths: u8,
}

impl Snapshot {
    pub fn is(&self, life: Life) -> bool {
        self.life == life
    }

    pub fn pinned(&self, now: i64) -> bool {
        self.pins.iter().any(|(_, end)| end.is_none_or(|end| now <= end))
    }
}

impl World {
    pub fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    /// The n-th, modulo, of those that are as wanted.
    pub fn pick<T>(of: &[T], n: u8, wanted: impl Fn(&T) -> bool) -> Option<usize> {
        let fit: Vec<usize> = (0..of.len()).filter(|i| wanted(&of[*i])).collect();
        fit.get(usize::from(n) % fit.len().max(1)).copied()
    }

    pub fn living_collection(&self, n: u8) -> Option<usize> {
        Self::pick(&self.collections, n, |c| c.living)
    }

    pub fn living_segment(&self, n: u8) -> Option<usize> {
        Self::pick(&self.segments, n, |s| s.dropped.is_none())
    }

    pub fn snapshot(&self, n: u8, life: Life) -> Option<usize> {
        Self::pick(&self.snapshots, n, |s| s.is(life))
    }

    pub fn living_segments(&self, collection: usize) -> Vec<usize> {
        (0..self.segments.len())
            .filter(|s| self.segments[*s].collection == collection && self.segments[*s].dropped.is_none())
            .collect()
    }

    /// What a snapshot of a collection takes now.
    pub fn capture(&self, collection: usize) -> Vec<Captured> {
        let captured = |segment: usize| {
            let builds = &self.segments[segment].builds;
            Captured {
                segment,
                files: self.segments[segment].files.len(),
                builds: (0..builds.len()).filter(|b| builds[*b].dropped.is_none()).collect(),
            }
        };
        self.living_segments(collection).into_iter().map(captured).collect()
    }

    pub fn drop_segment(&mut self, segment: usize) {
        let segment = &mut self.segments[segment];
        segment.dropped = Some(self.now);
        for build in segment.builds.iter_mut().filter(|b| b.dropped.is_none()) {
            build.dropped = Some(self.now);
        }
    }

    pub fn is_being_restored(&self, snapshot: usize) -> bool {
        self.jobs.iter().any(|j| j.snapshot == snapshot && !j.ended)
    }

    /// Why a snapshot can't be dropped.
    pub fn refusal(&self, snapshot: usize) -> Option<&'static str> {
        let at = &self.snapshots[snapshot];
        if at.held {
            Some("snapshot_held")
        } else if at.pinned(self.now) {
            Some("snapshot_pinned")
        } else if self.is_being_restored(snapshot) {
            Some("snapshot_being_restored")
        } else {
            None
        }
    }

    /// What a run of the collector does: what is dropped for long enough and needed by nobody is
    /// gone. `grace` in hours; 0 means none at all.
    pub fn collect(&mut self, grace: i64) {
        let now = self.now;
        let over = |at: i64| grace == 0 || now - at > grace;
        for snapshot in &mut self.snapshots {
            if let Life::Pending { since } = snapshot.life
                && since < now
            {
                snapshot.life = Life::Dropped { at: now, back: false };
            }
            if let Life::Dropped { at, .. } = snapshot.life
                && over(at)
            {
                snapshot.life = Life::Gone;
            }
        }
        for n in 0..self.segments.len() {
            let needed: Vec<&Captured> = self.captures(n).collect();
            let segment_needed = !needed.is_empty();
            let builds_needed: Vec<usize> = needed.iter().flat_map(|c| c.builds.iter().copied()).collect();
            let segment = &mut self.segments[n];
            for (b, build) in segment.builds.iter_mut().enumerate() {
                build.gone |= build.dropped.is_some_and(over) && !builds_needed.contains(&b);
            }
            segment.gone |= segment.dropped.is_some_and(over) && !segment_needed;
        }
    }

    /// What a run does that dies when it has condemned: nothing is gone, and nothing can be taken back any more.
    pub fn condemn(&mut self, grace: i64) {
        let now = self.now;
        for s in 0..self.snapshots.len() {
            let read = self.is_being_restored(s);
            let snapshot = &mut self.snapshots[s];
            if let Life::Dropped { at, .. } = snapshot.life
                && !read
                && (grace == 0 || now - at > grace)
            {
                snapshot.life = Life::Dropped { at, back: false };
            }
        }
    }

    /// Who needs a segment.
    fn captures(&self, segment: usize) -> impl Iterator<Item = &Captured> {
        let there = self.snapshots.iter().filter(|s| s.life != Life::Gone);
        there.flat_map(|s| &s.captured).filter(move |c| c.segment == segment)
    }

    /// Every data file that must be there.
    pub fn files(&self) -> BTreeMap<&str, &[u8]> {
        let mut files = BTreeMap::new();
        for segment in &self.segments {
            let builds = segment.builds.iter().filter(|b| !b.gone).map(|b| &b.file);
            let own = segment.files.iter().filter(|_| !segment.gone);
            files.extend(own.chain(builds).map(|f| (f.path.as_str(), f.content.as_slice())));
        }
        files
    }
}
