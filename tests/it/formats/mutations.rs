//! Golden files changed at random, for as long as a test run may take; `fuzz/` does the same without
//! an end. Nothing panics, no input takes long, and all of it fits in little memory: the test runs in
//! a process of its own whose address space is limited.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use stillframe::domain::Code;
use stillframe::objects::{manifest, metadata};

use super::fastavro::{FORMS, golden_name};
use super::golden::path;
use super::sample::{COLLECTION, ROOT};

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

/// Reads what was mutated; gives whether it was accepted.
fn survive(round: usize, bytes: &[u8], read: impl Fn(&[u8]) -> Result<(), Code> + std::panic::RefUnwindSafe) -> bool {
    let started = Instant::now();
    let outcome = catch_unwind(|| read(bytes)).unwrap_or_else(|_| panic!("round {round} panicked: {bytes:02x?}"));
    assert!(started.elapsed() < LONGEST, "round {round} took {:?}", started.elapsed());
    match outcome {
        Ok(()) => true,
        Err(code) => {
            assert_eq!(code, Code::CorruptSnapshot, "round {round}");
            false
        }
    }
}

fn mutate_all() {
    let mut names: Vec<String> = FORMS.iter().map(|(version, form)| golden_name(*version, form)).collect();
    names.extend(["manifest.container.avro".into(), "manifest.milvus.avro".into()]);
    let manifests: Vec<Vec<u8>> = names.iter().map(|name| golden(name)).collect();
    let metadata_files = [golden("metadata.json")];
    let mut random = Random(0x5711_1f4a_3e00);
    let mut accepted = 0;
    for round in 0..ROUNDS {
        if round % 8 == 0 {
            let bytes = mutate(&mut random, &metadata_files);
            accepted += usize::from(survive(round, &bytes, |bytes| {
                metadata::decode(bytes, ROOT).map(drop).map_err(|e| e.code())
            }));
            continue;
        }
        let bytes = mutate(&mut random, &manifests);
        // any reader of any version may meet it
        let version = [0, 1, 2, 3, 4, 5, 1004, 1005][random.below(8)];
        accepted += usize::from(survive(round, &bytes, |bytes| {
            manifest::decode(bytes, version, ROOT, COLLECTION)
                .map(drop)
                .map_err(|e| e.code())
        }));
    }
    assert!(
        accepted > ROUNDS / 200 && accepted < ROUNDS / 2,
        "{accepted} of {ROUNDS} were accepted: they are changed too much, or too little"
    );
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
