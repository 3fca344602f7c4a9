//! The `stillframe` binary.

fn main() -> std::process::ExitCode {
    stillframe::cli::main()
}
