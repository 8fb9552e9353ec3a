//! How a process of Flink is started: what `bin/jobmanager.sh` and `bin/taskmanager.sh` do, without the shell.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Error, FlinkOptions, FlinkVersion};
use crate::{
    cache::{self, Cache},
    process,
};

/// Each line of a result starts with this; the rest of the output is a log.
const RESULT: &str = "BASH_JAVA_UTILS_EXEC_RESULT:";

/// Packages of the JDK that Flink reaches into, as in the `env.java.opts.all` of the distribution's `config.yaml`.
const OPENED: [&str; 12] = [
    "java.lang",
    "java.net",
    "java.io",
    "java.nio",
    "sun.nio.ch",
    "java.lang.reflect",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
];
const EXPORTED: [&str; 3] = [
    "java.base/sun.net.util",
    "java.rmi/sun.rmi.registry",
    "java.security.jgss/sun.security.krb5",
];
/// A test's Flink lives for seconds: a quick start is worth more than fast code.
const QUICK_START: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];

const LOG4J: &str = "\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.shaded.name = org.apache.flink.shaded
logger.shaded.level = ERROR
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n
";

/// A role in a session cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    JobManager,
    TaskManager,
}

impl Role {
    fn main_class(self) -> &'static str {
        match self {
            Self::JobManager => "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            Self::TaskManager => "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
        }
    }

    fn memory_query(self) -> &'static str {
        match self {
            Self::JobManager => "GET_JM_RESOURCE_PARAMS",
            Self::TaskManager => "GET_TM_RESOURCE_PARAMS",
        }
    }
}

/// A configured Flink that can be started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    java: PathBuf,
    home: PathBuf,
    plugins: PathBuf,
    directory: PathBuf,
    version: FlinkVersion,
    libraries: Vec<PathBuf>,
}

impl Launch {
    /// Finds Java and the distribution, and writes the configuration into `directory`. Blocks.
    pub(super) fn prepare(
        cache: &Cache,
        directory: &Path,
        options: &FlinkOptions,
        ports: Ports,
    ) -> Result<Self, Error> {
        let java = cache::java()?;
        let home = super::distribution(cache, options.version)?;
        let write = |name: &str, content: &str| {
            let path = directory.join(name);
            fs::write(&path, content).map_err(process::file("write", &path))
        };
        for folder in ["conf", "tmp", "checkpoints", "savepoints"] {
            let path = directory.join(folder);
            fs::create_dir_all(&path).map_err(process::file("create", &path))?;
        }
        // JSON strings are YAML strings, whatever is in them.
        let line = |(key, value): (String, String)| format!("{key}: {}\n", serde_json::Value::from(value));
        let yaml: String = configuration(directory, options, ports).into_iter().map(line).collect();
        write("conf/config.yaml", &yaml)?;
        write("conf/log4j-console.properties", LOG4J)?;
        let plugins = plugins(&home, directory, &options.plugins)?;
        Ok(Self {
            java,
            home,
            plugins,
            directory: directory.to_owned(),
            version: options.version,
            libraries: options.libraries.clone(),
        })
    }

    /// The command that becomes the process. Blocks for half a second: Flink's own code derives the sizes of the JVM.
    pub(super) fn command(&self, role: Role) -> Result<Command, Error> {
        let conf = self.directory.join("conf");
        let mut query = self.java();
        query
            .arg("-cp")
            .arg(format!(
                "{}:{}",
                self.home.join("bin/bash-java-utils.jar").display(),
                self.dist().display()
            ))
            .arg("org.apache.flink.runtime.util.bash.BashJavaUtils")
            .arg(role.memory_query())
            .arg("--configDir")
            .arg(&conf);
        let output = query.output().map_err(|source| Error::Memory {
            output: source.to_string(),
        })?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let mut results = text.lines().filter_map(|line| line.strip_prefix(RESULT));
        let (Some(jvm), Some(resolved)) = (results.next(), results.next()) else {
            return Err(Error::Memory {
                output: text.into_owned(),
            });
        };
        let mut command = self.java();
        command
            .args(jvm.split_whitespace())
            .args(OPENED.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")))
            .args(EXPORTED.map(|package| format!("--add-exports={package}=ALL-UNNAMED")))
            .arg(format!(
                "-Dlog4j.configurationFile=file:{}",
                conf.join("log4j-console.properties").display()
            ))
            .arg("-cp")
            .arg(self.class_path()?)
            .arg(role.main_class())
            .arg("--configDir")
            .arg(&conf)
            .args(resolved.split_whitespace());
        Ok(command)
    }

    fn java(&self) -> Command {
        let mut java = Command::new(&self.java);
        java.args(QUICK_START)
            .arg(format!("-Djava.io.tmpdir={}", self.directory.join("tmp").display()))
            .current_dir(&self.directory)
            .env("FLINK_CONF_DIR", self.directory.join("conf"))
            .env("FLINK_LIB_DIR", self.home.join("lib"))
            .env("FLINK_OPT_DIR", self.home.join("opt"))
            .env("FLINK_PLUGINS_DIR", &self.plugins)
            // Options for other Java programs of this machine.
            .env_remove("JAVA_TOOL_OPTIONS");
        java
    }

    /// All of `lib` and what was added to it, with flink-dist last, as Flink's scripts have it.
    fn class_path(&self) -> Result<String, Error> {
        let lib = self.home.join("lib");
        let list = fs::read_dir(&lib).map_err(process::file("list", &lib))?;
        let mut jars: Vec<PathBuf> = list
            .flatten()
            .map(|entry| entry.path())
            .filter(|jar| *jar != self.dist())
            .collect();
        jars.extend(self.libraries.iter().cloned());
        jars.sort();
        jars.push(self.dist());
        Ok(jars
            .iter()
            .map(|jar| jar.display().to_string())
            .collect::<Vec<_>>()
            .join(":"))
    }

    fn dist(&self) -> PathBuf {
        self.home.join(format!("lib/flink-dist-{}.jar", self.version))
    }
}

/// The folder with the distribution's plugins, or with these besides: each has a folder of its own.
fn plugins(home: &Path, directory: &Path, more: &[PathBuf]) -> Result<PathBuf, Error> {
    let shipped = home.join("plugins");
    if more.is_empty() {
        return Ok(shipped);
    }
    let all = directory.join("plugins");
    fs::create_dir_all(&all).map_err(process::file("create", &all))?;
    let list = fs::read_dir(&shipped).map_err(process::file("list", &shipped))?;
    for plugin in list.flatten().filter(|entry| entry.path().is_dir()) {
        let link = all.join(plugin.file_name());
        symlink(plugin.path(), &link).map_err(process::file("link", &link))?;
    }
    for jar in more {
        let folder = all.join(jar.file_stem().unwrap_or_default());
        fs::create_dir_all(&folder).map_err(process::file("create", &folder))?;
        let link = folder.join(jar.file_name().unwrap_or_default());
        symlink(jar, &link).map_err(process::file("link", &link))?;
    }
    Ok(all)
}

/// The ports of a JobManager, which keep their numbers when it is restarted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) rest: u16,
    pub(super) rpc: u16,
}

/// The whole configuration: what a test needs, then the options' own keys, which win.
fn configuration(directory: &Path, options: &FlinkOptions, ports: Ports) -> BTreeMap<String, String> {
    let folder = |name: &str| directory.join(name).display().to_string();
    let defaults = [
        ("jobmanager.rpc.address", "127.0.0.1".to_owned()),
        ("jobmanager.rpc.port", ports.rpc.to_string()),
        ("jobmanager.bind-host", "127.0.0.1".to_owned()),
        ("rest.address", "127.0.0.1".to_owned()),
        ("rest.bind-address", "127.0.0.1".to_owned()),
        ("rest.port", ports.rest.to_string()),
        ("taskmanager.host", "127.0.0.1".to_owned()),
        ("taskmanager.bind-host", "127.0.0.1".to_owned()),
        ("taskmanager.numberOfTaskSlots", options.slots.to_string()),
        ("io.tmp.dirs", folder("tmp")),
        (
            "execution.checkpointing.dir",
            format!("file://{}", folder("checkpoints")),
        ),
        (
            "execution.checkpointing.savepoint-dir",
            format!("file://{}", folder("savepoints")),
        ),
        ("parallelism.default", "1".to_owned()),
        // The smallest that runs comfortably; in fact each process takes about 350 MB.
        ("jobmanager.memory.process.size", "768m".to_owned()),
        ("jobmanager.memory.jvm-metaspace.size", "160m".to_owned()),
        ("jobmanager.memory.jvm-overhead.min", "64m".to_owned()),
        ("taskmanager.memory.process.size", "768m".to_owned()),
        ("taskmanager.memory.jvm-metaspace.size", "160m".to_owned()),
        ("taskmanager.memory.jvm-overhead.min", "64m".to_owned()),
        ("taskmanager.memory.managed.size", "32m".to_owned()),
        ("taskmanager.memory.network.min", "32m".to_owned()),
        ("taskmanager.memory.network.max", "32m".to_owned()),
        // A restarted JobManager gets its TaskManagers back after this time (default: 50 s). One that is frozen for
        // longer loses them.
        ("heartbeat.timeout", "10000".to_owned()),
        ("heartbeat.interval", "1000".to_owned()),
    ];
    let defaults = defaults.into_iter().map(|(key, value)| (key.to_owned(), value));
    let all: BTreeMap<_, _> = defaults.chain(options.configuration.iter().cloned()).collect();
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
