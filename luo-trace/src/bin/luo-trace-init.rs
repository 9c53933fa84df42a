//! Init of a lab VM: `luo-trace` without the commands that draw.

fn main() -> std::process::ExitCode {
    luo_trace::cli::init()
}
