//! `devcluster`: the real servers from a terminal, to look at or to try things on.

use std::{
    error::Error,
    io::{Write, stderr, stdout},
    path::Path,
};

use clap::{Parser, Subcommand, ValueEnum};
use devcluster::{
    ControlPlane, Flink, FlinkOptions, FlinkVersion, cache::Cache, control_plane, flink, jars, object_store,
};

/// Real etcd, kube-apiserver and Flink on the loopback address, gone without a trace when this ends.
#[derive(Debug, Parser)]
#[command(name = "devcluster")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the servers, prints their addresses, and waits for Ctrl-C.
    Up {
        /// The version of Flink.
        #[arg(long, value_enum, default_value_t = Version::Two)]
        flink: Version,
        /// How many TaskManagers.
        #[arg(long, default_value_t = 1)]
        task_managers: usize,
        /// Slots of each TaskManager.
        #[arg(long, default_value_t = 8)]
        slots: usize,
        /// A key of Flink's configuration, as KEY=VALUE; may be repeated.
        #[arg(short = 'D', value_parser = key_value)]
        configuration: Vec<(String, String)>,
    },
    /// Builds and downloads all that tests and the demo need.
    Prefetch,
    /// Removes all that was built, downloaded or logged.
    Clean,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "1.20")]
    One,
    #[value(name = "2.3")]
    Two,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() {
    if let Err(error) = run(Arguments::parse().command).await {
        let _ = writeln!(stderr(), "error: {error}");
        // Not a return, which would wait for a build that still runs. Its supervisor ends it.
        std::process::exit(1);
    }
    std::process::exit(0);
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Up {
            flink,
            task_managers,
            slots,
            configuration,
        } => {
            let version = match flink {
                Version::One => FlinkVersion::V1_20,
                Version::Two => FlinkVersion::V2_3,
            };
            up(FlinkOptions {
                version,
                task_managers,
                slots,
                configuration,
                ..FlinkOptions::default()
            })
            .await
        }
        Command::Prefetch => prefetch().await,
        Command::Clean => {
            let cache = Cache::open()?;
            let freed = cache.clear()?;
            writeln!(
                stdout(),
                "removed {} ({} MB)",
                cache.root().display(),
                freed / 1_000_000
            )?;
            Ok(())
        }
    }
}

async fn up(options: FlinkOptions) -> Result<(), Box<dyn Error>> {
    // From the start, so that Ctrl-C while they start ends them as well.
    let interrupted = tokio::signal::ctrl_c();
    let started = async {
        let plane = async { ControlPlane::start().await.map_err(Box::<dyn Error>::from) };
        let flink = async { Flink::start(options).await.map_err(Box::<dyn Error>::from) };
        tokio::try_join!(plane, flink)
    };
    tokio::pin!(interrupted);
    let (plane, flink) = tokio::select! {
        started = started => started?,
        _ = &mut interrupted => return Ok(()),
    };
    let mut out = stdout();
    let seconds = |time: std::time::Duration| format!("{:.1} s", time.as_secs_f64());
    writeln!(
        out,
        "Kubernetes {}  {}  (ready after {})",
        control_plane::KUBERNETES,
        plane.url(),
        seconds(plane.ready_after())
    )?;
    writeln!(
        out,
        "Flink {}  {}  (ready after {})",
        flink.options().version,
        flink.rest_url(),
        seconds(flink.ready_after())
    )?;
    writeln!(
        out,
        "Logs  {}\n      {}",
        plane.logs().display(),
        flink.logs().display()
    )?;
    writeln!(
        out,
        "\nexport KUBECONFIG={}\n\nCtrl-C ends both.",
        plane.kubeconfig().display()
    )?;
    interrupted.await?;
    Ok(())
}

async fn prefetch() -> Result<(), Box<dyn Error>> {
    let cache = Cache::open()?;
    let for_builds = cache.clone();
    // One compiler at a time, while the downloads go on.
    let builds = tokio::task::spawn_blocking(move || {
        control_plane::etcd(&for_builds)?;
        control_plane::kube_apiserver(&for_builds)?;
        control_plane::kubectl(&for_builds)?;
        object_store::program(&for_builds)
    });
    for version in FlinkVersion::ALL {
        let for_download = cache.clone();
        tokio::task::spawn_blocking(move || flink::distribution(&for_download, version)).await??;
        jars::example(version).await?;
        jars::test_jobs(version).await?;
    }
    jars::s3_file_system().await?;
    builds.await??;
    let root: &Path = cache.root();
    writeln!(stdout(), "all is in {}", root.display())?;
    Ok(())
}
