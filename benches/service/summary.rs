//! Medians of single calls against their targets, and peaks of memory.

use std::sync::Mutex;
use std::time::Duration;

struct Line {
    name: String,
    calls: Vec<Duration>,
    target: Option<Duration>,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Notes a call. Those of Criterion's warm-up count too.
pub fn call(name: &str, took: Duration, target: Option<Duration>) {
    let mut lines = LINES.lock().expect("no panic");
    match lines.iter_mut().find(|l| l.name == name) {
        Some(line) => line.calls.push(took),
        None => lines.push(Line {
            name: name.to_string(),
            calls: vec![took],
            target,
        }),
    }
}

/// Prints what was noted.
pub fn print() {
    println!(
        "\n{:<55} {:>6} {:>11} {:>11} {:>11} {:>9}",
        "single calls", "calls", "fastest", "median", "95 of 100", "target"
    );
    let ms = |d: Duration| format!("{:.2} ms", d.as_secs_f64() * 1000.0);
    for line in LINES.lock().expect("no panic").iter_mut() {
        line.calls.sort_unstable();
        let at = |part: usize| line.calls[(line.calls.len() - 1) * part / 100];
        let target = line.target.map(|t| format!("{} ms", t.as_millis())).unwrap_or_default();
        let missed = if line.target.is_some_and(|t| at(50) > t) {
            "  MISSED"
        } else {
            ""
        };
        let (fastest, median, most) = (ms(at(0)), ms(at(50)), ms(at(95)));
        println!(
            "{:<55} {:>6} {fastest:>11} {median:>11} {most:>11} {target:>9}{missed}",
            line.name,
            line.calls.len()
        );
    }
}

/// Peak of the resident memory of a process, in MB; none when it can't be read.
pub fn peak_mb(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kb| kb / 1024)
}

/// Lets the peak of a process begin anew.
pub fn reset_peak(process: &str) {
    // where it can't be: the peak is that since the start
    let _ = std::fs::write(format!("/proc/{process}/clear_refs"), "5");
}

/// Prints the peak of this process: the service, and the bench with its request bodies.
pub fn note_peak() {
    if let Some(mb) = peak_mb("self") {
        println!("peak resident memory of this process, bench included: {mb} MB\n");
    }
}

/// Whether the command line asks for this part: nothing was named, or it.
pub fn wanted(part: &str) -> bool {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    !args.iter().any(|a| a == "--list") && (named.is_empty() || named.iter().any(|n| part.contains(n.as_str())))
}
