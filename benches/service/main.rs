//! How fast the service does its main work, against the targets of the README.
//!
//! `cargo bench` runs all of it, `cargo bench -- create` a part. Every bench calls the router, as
//! an HTTP server would, on a private Postgres and local storage in a directory below `/var/tmp`
//! (`BENCH_DIR`: another one; it must be on a real disk for the figures with fsync to mean
//! anything). At the end stand the medians of single calls, against the targets.

mod app;
mod create;
mod data;
mod lists;
mod memory;
mod register;
mod summary;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for bench in [create::bench, lists::bench, register::bench] {
        summary::reset_peak("self");
        bench(&mut criterion);
        summary::note_peak();
    }
    criterion.final_summary();
    if summary::wanted("memory") {
        memory::measure();
    }
    app::remove_directories();
    summary::print();
}
