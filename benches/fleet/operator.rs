//! The operator as a child process.

use std::process::{Child, Command, Stdio};

use crate::world::World;

pub struct Operator {
    child: Child,
}

impl Operator {
    pub fn start(world: &World) -> Self {
        let log = std::fs::File::create(world.directory.path().join("operator.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flink-job-operator"));
        command.args(["run", "--listen", "127.0.0.1:0", "--leader-elect", "true"]);
        command.arg("--kubeconfig").arg(world.plane.kubeconfig());
        command
            .arg("--artifact-cache-dir")
            .arg(world.directory.path().join("artifacts"));
        for fake in &world.fakes {
            command.arg("--allowed-endpoint").arg(fake.url());
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop();
    }
}
