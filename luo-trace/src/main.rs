//! The `luo-trace` command.

fn main() -> std::process::ExitCode {
    luo_trace::cli::main()
}
