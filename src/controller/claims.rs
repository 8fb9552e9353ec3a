//! The index of job resources by UID: it feeds the registry's claims and forgets what is gone.

use std::collections::HashMap;

use kube::{
    ResourceExt,
    runtime::{reflector::ObjectRef, watcher},
};
use parking_lot::Mutex;

use super::{
    context::{Shared, session_key},
    listing::{Listing, Seen},
};
use crate::{
    api::FlinkSessionJob,
    flink::{JobId, UidHash},
    registry::SessionKey,
};

/// The index.
pub(super) struct Claims {
    ctx: Shared,
    listing: Listing<FlinkSessionJob>,
    known: Mutex<HashMap<ObjectRef<FlinkSessionJob>, (String, SessionKey)>>,
}

impl Claims {
    pub(super) fn new(ctx: Shared) -> Self {
        Self {
            ctx,
            listing: Listing::default(),
            known: Mutex::default(),
        }
    }

    pub(super) fn apply(&self, event: &watcher::Event<FlinkSessionJob>) {
        self.listing.apply(event, |seen| match seen {
            Seen::There { object, .. } => self.claim(object),
            Seen::Gone(object) => self.release(&object),
        });
    }

    fn claim(&self, job: &FlinkSessionJob) {
        let Some(uid) = job.uid() else { return };
        let object = ObjectRef::from_obj(job);
        let key = session_key(job);
        let before = self.known.lock().insert(object.clone(), (uid.clone(), key.clone()));
        if let Some((old, old_key)) = before
            && old != uid
        {
            // The same name, another resource.
            self.forget(&object, &old, &old_key);
        }
        let status = job.status.as_ref();
        let foreign = |id: &JobId| id.owner() != UidHash::of(&uid);
        let adopted = status
            .and_then(|status| status.job_id)
            .or_else(|| job.spec.adopt.as_ref().map(|adopt| adopt.job_id));
        self.ctx
            .registry
            .claim(&key, UidHash::of(&uid), object, adopted.filter(foreign));
    }

    fn release(&self, object: &ObjectRef<FlinkSessionJob>) {
        if let Some((uid, key)) = self.known.lock().remove(object) {
            self.forget(object, &uid, &key);
        }
    }

    fn forget(&self, object: &ObjectRef<FlinkSessionJob>, uid: &str, key: &SessionKey) {
        let owner = UidHash::of(uid);
        self.ctx.registry.release(key, owner, object);
        self.ctx.permits.give_back(owner);
        self.ctx.memories.forget(owner);
        // A session that is being deleted may wait for this.
        let session = ObjectRef::new(&key.name).within(&key.namespace);
        let _ = self.ctx.wake.sessions.send(session);
    }
}
