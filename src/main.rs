//! The `ringway` binary: hands the command line to `cli` and exits with what it answers.

/// Every allocation of the control plane, and the few of the data plane, go through mimalloc: the data plane
/// allocates per connection, and glibc's arenas grow with the number of threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
