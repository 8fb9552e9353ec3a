//! The part of `FlinkClient` that takes and removes state: savepoints, stops with savepoint, disposal.
//!
//! All of them are accepted first and done later. What became of one is remembered by the process that took it, until
//! `rest.async.store-duration` (5 min) after its end.

use super::{
    FlinkClient, JobId, TriggerId,
    error::{Failure, FlinkError},
    reply::{
        CheckpointConfig, CheckpointConfigInfo, DisposalStatus, OperationResult, SavepointStatus, TriggerReply,
        TriggerResponse,
    },
    request::{SavepointDisposalRequest, SavepointRequest},
    transport::Call,
};

impl FlinkClient {
    /// Asks for a savepoint of a job that goes on. Accepted for jobs that are not there as well: the outcome says so.
    ///
    /// Within one process, and until the outcome is forgotten, a second request with the same id changes nothing, whatever
    /// else it says.
    pub async fn trigger_savepoint(&self, id: JobId, savepoint: &SavepointRequest) -> Result<TriggerReply, FlinkError> {
        let call = Call::post("POST /jobs/:jobid/savepoints");
        let request = self.transport.request(call, &["jobs", &id.to_string(), "savepoints"]);
        let response = self.transport.send(call, request.json(&savepoint.savepoint())).await?;
        Ok(reply(savepoint, &response))
    }

    /// Asks for a savepoint after which the job ends as FINISHED, without draining it.
    ///
    /// Never with a new id while an earlier stop may be under way: two of them at once can fail the job and leave neither
    /// savepoint.
    pub async fn stop_with_savepoint(
        &self,
        id: JobId,
        savepoint: &SavepointRequest,
    ) -> Result<TriggerReply, FlinkError> {
        let call = Call::post("POST /jobs/:jobid/stop");
        let request = self.transport.request(call, &["jobs", &id.to_string(), "stop"]);
        let response = self.transport.send(call, request.json(&savepoint.stop())).await?;
        Ok(reply(savepoint, &response))
    }

    /// What became of a savepoint or a stop of this job.
    pub async fn savepoint_status(&self, id: JobId, trigger: TriggerId) -> Result<SavepointStatus, FlinkError> {
        let call = Call::get("GET /jobs/:jobid/savepoints/:triggerid");
        let path = ["jobs", &id.to_string(), "savepoints", &trigger.to_string()];
        let result = self.transport.send(call, self.transport.request(call, &path)).await;
        match known(result)? {
            None => Ok(SavepointStatus::Unknown),
            Some(result) => result.savepoint().ok_or_else(|| self.unreadable(call)),
        }
    }

    /// Asks for the files of a savepoint, or of a retained checkpoint, to be deleted. Any cluster that reaches them can.
    ///
    /// The id is Flink's: a second request is a second disposal. That one fails, which is harmless.
    pub async fn dispose_savepoint(&self, path: &str) -> Result<TriggerId, FlinkError> {
        let call = Call::post("POST /savepoint-disposal");
        let request = self.transport.request(call, &["savepoint-disposal"]);
        let body = SavepointDisposalRequest { savepoint_path: path };
        let response: TriggerResponse = self.transport.send(call, request.json(&body)).await?;
        Ok(response.request_id)
    }

    /// What became of a disposal.
    pub async fn disposal_status(&self, trigger: TriggerId) -> Result<DisposalStatus, FlinkError> {
        let call = Call::get("GET /savepoint-disposal/:triggerid");
        let path = ["savepoint-disposal", &trigger.to_string()];
        let result = self.transport.send(call, self.transport.request(call, &path)).await;
        match known(result)? {
            None => Ok(DisposalStatus::Unknown),
            Some(result) => result.disposal().ok_or_else(|| self.unreadable(call)),
        }
    }

    /// How a job's checkpoints are configured. Does not change during its life.
    pub async fn checkpoint_config(&self, id: JobId) -> Result<CheckpointConfig, FlinkError> {
        let call = Call::get("GET /jobs/:jobid/checkpoints/config");
        let path = ["jobs", &id.to_string(), "checkpoints", "config"];
        let info: CheckpointConfigInfo = self.transport.send(call, self.transport.request(call, &path)).await?;
        Ok(info.into())
    }

    fn unreadable(&self, call: Call) -> FlinkError {
        let told = "the outcome is neither a success nor a failure";
        FlinkError::NotFlink(Failure::new(call.name, self.transport.origin(), told))
    }
}

fn reply(savepoint: &SavepointRequest, response: &TriggerResponse) -> TriggerReply {
    if response.request_id == savepoint.trigger_id {
        TriggerReply::Accepted
    } else {
        TriggerReply::OtherTrigger(response.request_id)
    }
}

/// Tells the handlers' own 404 for an unknown id from any other; "never heard of it" must not be believed of a proxy.
///
/// `SavepointStatusHandler` (`RestHandlerException`) and `AbstractAsynchronousOperationHandlers` (`NotFoundException`).
fn known(result: Result<OperationResult, FlinkError>) -> Result<Option<OperationResult>, FlinkError> {
    match result {
        Ok(result) => Ok(Some(result)),
        Err(FlinkError::NotFound(failure)) if failure.message.starts_with("org.apache.flink.runtime.rest.") => Ok(None),
        Err(FlinkError::NotFound(failure)) => Err(FlinkError::NotFlink(failure)),
        Err(error) => Err(error),
    }
}
