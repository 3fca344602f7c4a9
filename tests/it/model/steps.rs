//! What may happen. A step names things by a number that is taken modulo the things there are,
//! so that a sequence means something after any of its steps was taken out.

use std::ops::Range;

use proptest::prelude::*;

/// One thing that happens. `u8` without a name: of which collection, segment, snapshot or job.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    NewCollection,
    DropCollection {
        of: u8,
        cascade: bool,
    },
    Register(u8),
    Append(u8),
    DropSegment(u8),
    Compact {
        of: u8,
        inputs: u8,
        outputs: u8,
    },
    NewIndex(u8),
    DropIndex(u8),
    Build(u8),
    Create {
        of: u8,
        name: u8,
    },
    /// A create that dies, before or after it wrote its manifests.
    CrashedCreate {
        of: u8,
        name: u8,
        written: bool,
    },
    Drop(u8),
    Undelete(u8),
    /// Pins for so many hours; 0: for ever.
    Pin {
        of: u8,
        hours: u8,
    },
    Unpin(u8),
    Hold(u8),
    Lift(u8),
    Restore(u8),
    /// A restore one of whose source files is missing.
    FailingRestore(u8),
    Pause(u8),
    Resume(u8),
    /// A worker claims so many tasks and is never heard of again.
    ClaimAndDie(u8),
    /// Runs so many tasks.
    Work(u8),
    Cancel(u8),
    /// So many hours go by.
    Pass(u8),
    /// Hours of grace; a look for orphans.
    Collect {
        grace: u8,
        orphans: bool,
        dry_run: bool,
    },
    /// A run of the collector that dies when it has condemned what it would delete.
    DieInCollect {
        grace: u8,
    },
}

/// Sequences of steps.
pub fn steps(length: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let n = any::<u8>;
    let step = prop_oneof![
        1 => Just(NewCollection),
        1 => (n(), any::<bool>()).prop_map(|(of, cascade)| DropCollection { of, cascade }),
        8 => n().prop_map(Register),
        4 => n().prop_map(Append),
        3 => n().prop_map(DropSegment),
        3 => (n(), 1..4u8, 0..3u8).prop_map(|(of, inputs, outputs)| Compact { of, inputs, outputs }),
        1 => n().prop_map(NewIndex),
        1 => n().prop_map(DropIndex),
        2 => n().prop_map(Build),
        8 => (n(), 0..3u8).prop_map(|(of, name)| Create { of, name }),
        2 => (n(), 0..3u8, any::<bool>()).prop_map(|(of, name, written)| CrashedCreate { of, name, written }),
        6 => n().prop_map(Drop),
        3 => n().prop_map(Undelete),
        2 => (n(), 0..4u8).prop_map(|(of, hours)| Pin { of, hours }),
        2 => n().prop_map(Unpin),
        1 => n().prop_map(Hold),
        1 => n().prop_map(Lift),
        4 => n().prop_map(Restore),
        1 => n().prop_map(FailingRestore),
        1 => n().prop_map(Pause),
        2 => n().prop_map(Resume),
        1 => (1..4u8).prop_map(ClaimAndDie),
        7 => (1..14u8).prop_map(Work),
        2 => n().prop_map(Cancel),
        5 => (1..4u8).prop_map(Pass),
        8 => (0..4u8, any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(grace, orphans, dry_run)| Collect { grace, orphans, dry_run }),
        2 => (0..4u8).prop_map(|grace| DieInCollect { grace }),
    ];
    prop::collection::vec(step, length)
}
