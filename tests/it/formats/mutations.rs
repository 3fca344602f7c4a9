//! Golden files changed at random, for as long as a test run may take; `fuzz/` does the same, with the same checks,
//! without an end. Nothing panics, no round trip goes wrong, no input takes long, and all of it fits in little memory:
//! the test runs in a process of its own whose address space is limited.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use super::fastavro::{FORMS, golden_name};
use super::golden::path;

#[path = "../../../fuzz/checks/bundle.rs"]
mod bundle;
#[path = "../../../fuzz/checks/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/checks/metadata.rs"]
mod metadata;

const ROUNDS: usize = 40_000;
/// Kibibytes of address space of the process, most of which a process takes without any input.
const ADDRESS_SPACE: u64 = 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(10);
/// Set in the process that does it.
const INNER: &str = "MUTATIONS_INNER";

/// A small generator (splitmix64), so that a failure can be repeated by its round.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A length or count of any size, as Avro has it.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

const WORDS: [&[u8]; 12] = [
    b"null",
    b"\"\"",
    b"-1",
    b"9223372036854775808",
    b"\"18446744073709551616\"",
    b"1e400",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":",
    b"\\ud800",
    b"../",
    b"Obj\x01",
    b"\xff\xfe",
];

/// Bits flipped, bytes set, parts cut out, doubled, taken from another file, huge lengths put in, the
/// end cut off.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(64)).min(bytes.len());
        match random.below(9) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => drop(bytes.splice(at..at, varint(i64::MIN >> random.below(64)))),
            6 => drop(bytes.splice(at..end, varint((random.next() >> random.below(64)).cast_signed()))),
            7 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let to = (from + 1 + random.below(other.len())).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => drop(bytes.splice(at..end, WORDS[random.below(WORDS.len())].iter().copied())),
        }
    }
    bytes
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What a fuzz target does.
struct Target {
    check: fn(&[u8]) -> bool,
    seeds: Vec<Vec<u8>>,
    /// Versions that its first byte chooses from, and where they begin; none: there is no such byte.
    versions: Option<(usize, usize)>,
    /// Rounds of all, in eighths.
    share: usize,
    accepted: usize,
}

impl Target {
    fn new(check: fn(&[u8]) -> bool, seeds: &[Vec<u8>], versions: Option<(usize, usize)>, share: usize) -> Self {
        Self {
            check,
            seeds: seeds.to_vec(),
            versions,
            share,
            accepted: 0,
        }
    }

    /// Mutates a file and checks what is made of it.
    fn survive(&mut self, round: usize, random: &mut Random) {
        let mut bytes = mutate(random, &self.seeds);
        if let Some((first, count)) = self.versions {
            // any reader of any version may meet it
            bytes.insert(0, (first + random.below(count)) as u8);
        }
        let (started, check) = (Instant::now(), self.check);
        let accepted = catch_unwind(|| check(&bytes));
        let accepted = accepted.unwrap_or_else(|_| panic!("round {round} panicked: {bytes:02x?}"));
        assert!(started.elapsed() < LONGEST, "round {round} took {:?}", started.elapsed());
        self.accepted += usize::from(accepted);
    }
}

fn mutate_all() {
    let mut names: Vec<String> = FORMS.iter().map(|(version, form)| golden_name(*version, form)).collect();
    names.extend(["manifest.container.avro".into(), "manifest.milvus.avro".into()]);
    let manifests: Vec<Vec<u8>> = names.iter().map(|name| golden(name)).collect();
    let metadata_files = [golden("metadata.json")];
    let text = String::from_utf8(golden("metadata.json")).expect("text");
    let of_bundle = text.replace("SnapshotLayoutReferenced", "SnapshotLayoutSelfContained");
    let versions = manifest::VERSIONS.len();
    let mut targets = [
        Target::new(manifest::check, &manifests, Some((0, versions)), 4),
        Target::new(bundle::check, &manifests, Some((0, versions)), 2),
        Target::new(bundle::check, &[of_bundle.into_bytes()], Some((versions, 1)), 1),
        Target::new(metadata::check, &metadata_files, None, 1),
    ];
    let of_round: Vec<usize> = (0..).zip(&targets).flat_map(|(at, t)| vec![at; t.share]).collect();
    let mut random = Random(0x5711_1f4a_3e00);
    for round in 0..ROUNDS {
        targets[of_round[round % of_round.len()]].survive(round, &mut random);
    }
    for (at, target) in targets.iter().enumerate() {
        let (rounds, accepted) = (ROUNDS * target.share / of_round.len(), target.accepted);
        assert!(
            accepted > rounds / 200 && accepted < rounds * 3 / 4,
            "{accepted} of {rounds} of target {at} were accepted: they are changed too much, or too little"
        );
    }
}

#[test]
fn mutated_files_neither_panic_nor_take_much_time_or_memory() {
    if std::env::var_os(INNER).is_some() {
        return mutate_all();
    }
    let this = std::env::current_exe().expect("a program");
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"")])
        .arg(this)
        .args([
            "--exact",
            "formats::mutations::mutated_files_neither_panic_nor_take_much_time_or_memory",
        ])
        .args(["--test-threads", "1"])
        .env(INNER, "1")
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
