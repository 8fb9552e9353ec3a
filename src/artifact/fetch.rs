//! Fetching: one request at a time for each place, conditional where the content is known.

use std::{collections::HashMap, fmt, io::Write, path::Path, sync::Arc, time::Instant};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use tokio::sync::{AcquireError, OnceCell};
use tracing::{debug, info};

use super::{
    cache::{Cache, CachedFile, Place},
    error::ArtifactError,
    http::{Reply, Validator, Web},
    jar::stub_jar,
    policy::{ArtifactPolicy, Denied, S3Credentials},
    receive::receive,
    s3::{Objects, ObjectsError},
    sum::Sha256Sum,
    turns::Turns,
    uri::JarUri,
};
use crate::outbound::{ClientError, Lookup, SystemLookup};

/// A jar that a job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JarSource {
    /// The job's namespace: what it may have depends on it.
    pub namespace: String,
    /// Where the jar is.
    pub uri: JarUri,
    /// What it must be.
    pub sha256: Option<Sha256Sum>,
}

/// A jar on disk. The file stays as long as this value, or a clone, lives.
#[derive(Debug, Clone)]
pub struct Fetched {
    file: Arc<CachedFile>,
    validator: Option<Validator>,
    revalidated: bool,
}

impl Fetched {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<CachedFile> {
        &self.file
    }

    /// Where the file is. Read only.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The SHA-256 of the content.
    #[must_use]
    pub fn sha256(&self) -> Sha256Sum {
        self.file.sha256()
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// How the server would be asked whether the content changed; `None` when it offers no way.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        self.validator.as_ref()
    }

    /// Whether the server said that the content we had is still right, so that no body was sent.
    #[must_use]
    pub fn is_revalidated(&self) -> bool {
        self.revalidated
    }
}

/// What the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// Bytes on disk, those that are being received included.
    pub bytes: u64,
    /// Complete files.
    pub files: usize,
}

/// Why fetching cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The cache folder cannot be used.
    #[error(
        "cannot use {folder} for artifacts: {why}; set --artifact-cache-dir to a folder that the operator may write"
    )]
    Folder {
        /// The folder.
        folder: String,
        /// The system's words.
        why: String,
    },
    /// An artifact could be larger than the cache.
    #[error(
        "an artifact of {max} bytes would not fit into a cache of {cache}; raise --artifact-cache-size or lower \
         --max-artifact-size"
    )]
    CacheSize {
        /// The largest artifact.
        max: u64,
        /// The cache.
        cache: u64,
    },
    /// The HTTP clients or the object store cannot be set up.
    #[error("{0}")]
    Client(String),
}

impl From<ClientError> for SetupError {
    fn from(error: ClientError) -> Self {
        Self::Client(error.to_string())
    }
}

impl From<ObjectsError> for SetupError {
    fn from(error: ObjectsError) -> Self {
        Self::Client(error.to_string())
    }
}

type Outcome = Result<Fetched, ArtifactError>;
type Flight = Shared<BoxFuture<'static, Outcome>>;
type Flights = Mutex<HashMap<Place, (u64, WeakShared<BoxFuture<'static, Outcome>>)>>;

/// Fetches jars. Clones share everything.
#[derive(Clone)]
pub struct Fetcher {
    shared: Arc<Parts>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}

struct Parts {
    policy: Arc<ArtifactPolicy>,
    cache: Cache,
    web: Web,
    /// Only where the policy can allow an object.
    objects: Option<Objects>,
    turns: Turns,
    flights: Arc<Flights>,
    stub: OnceCell<Arc<CachedFile>>,
}

impl Fetcher {
    /// Sets up the clients and this process's folder in the cache, and removes what crashed processes left there. Blocking.
    pub fn new(policy: ArtifactPolicy) -> Result<Self, SetupError> {
        Self::with_lookup(policy, SystemLookup)
    }

    /// The same with a name service other than the system's.
    pub fn with_lookup(policy: ArtifactPolicy, lookup: impl Lookup) -> Result<Self, SetupError> {
        let (max, cache) = (policy.max_bytes, policy.cache_bytes);
        if max > cache {
            return Err(SetupError::CacheSize { max, cache });
        }
        let policy = Arc::new(policy);
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        let web = Web::new(&policy, &lookup)?;
        let has_objects = policy.s3.credentials == S3Credentials::Anonymous
            || policy.s3.reads_state
            || policy.allowed.iter().any(|allowed| !allowed.is_url());
        let objects = if has_objects {
            Some(Objects::new(&policy, &lookup)?)
        } else {
            None
        };
        let cache = Cache::create(&policy.cache_dir, policy.cache_bytes).map_err(|error| SetupError::Folder {
            folder: policy.cache_dir.display().to_string(),
            why: error.to_string(),
        })?;
        let turns = Turns::new(&policy);
        let (flights, stub) = (Arc::default(), OnceCell::new());
        Ok(Self {
            shared: Arc::new(Parts {
                policy,
                cache,
                web,
                objects,
                turns,
                flights,
                stub,
            }),
        })
    }

    /// Has the jar that is at its place now.
    ///
    /// The server is asked each time; when the content is known, by a conditional request, so that an unchanged jar costs
    /// no body. Callers that ask for the same place at the same time share one request. Dropping the future of the last
    /// caller ends the request.
    pub async fn fetch(&self, source: &JarSource) -> Outcome {
        self.shared.policy.admit(&source.namespace, &source.uri)?;
        let fetched = self.flight(source).await?;
        match source.sha256 {
            Some(expected) if expected != fetched.sha256() => Err(ArtifactError::ChecksumMismatch {
                at: source.uri.to_string(),
                expected,
                actual: fetched.sha256(),
            }),
            Some(_) | None => Ok(fetched),
        }
    }

    /// Whether an object is there now. The caller has made sure that whoever asks may know.
    ///
    /// # Errors
    /// Why the store did not say.
    pub async fn has_object(&self, bucket: &str, key: &str) -> Result<bool, ArtifactError> {
        self.objects(bucket, key)?.has(bucket, key).await
    }

    /// The names of the folders in a folder. The caller has made sure that whoever asks may know.
    ///
    /// # Errors
    /// Why the store did not say.
    pub async fn folders(&self, bucket: &str, folder: &str) -> Result<Vec<String>, ArtifactError> {
        self.objects(bucket, folder)?.folders(bucket, folder).await
    }

    fn objects(&self, bucket: &str, key: &str) -> Result<&Objects, ArtifactError> {
        let objects = self.shared.objects.as_ref();
        objects.ok_or_else(|| ArtifactError::Unreachable {
            at: format!("s3://{bucket}/{key}"),
            why: "the operator is not set up to read object stores".to_owned(),
        })
    }

    /// The jar for a job whose class is on the cluster already: [`stub_jar`] as a file.
    pub async fn stub(&self) -> Outcome {
        let at = || "the stub jar".to_owned();
        let disk = |why: std::io::Error| ArtifactError::disk(&at(), &why);
        let write = async || {
            let (cache, jar) = (&self.shared.cache, stub_jar());
            let (mut part, mut file) = cache.part().map_err(disk)?;
            let room = cache.reserve(&mut part, jar.len() as u64);
            room.map_err(|_| ArtifactError::CacheFull { at: at() })?;
            file.write_all(&jar).map_err(disk)?;
            Ok::<_, ArtifactError>(cache.keep(part, Sha256Sum::of(&jar), None))
        };
        let file = Arc::clone(self.shared.stub.get_or_try_init(write).await?);
        Ok(Fetched {
            file,
            validator: None,
            revalidated: false,
        })
    }

    /// What the cache holds.
    #[must_use]
    pub fn cache_use(&self) -> CacheUse {
        let (bytes, files) = self.shared.cache.usage();
        CacheUse { bytes, files }
    }

    /// The request under way for a place, or a new one.
    fn flight(&self, source: &JarSource) -> Flight {
        let place = Place::new(&source.namespace, &source.uri);
        let mut flights = self.shared.flights.lock();
        if let Some(flight) = flights.get(&place).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let landing = Landing {
            flights: Arc::clone(&self.shared.flights),
            place,
            number: self.shared.turns.number(),
        };
        let number = landing.number;
        let (shared, source) = (Arc::clone(&self.shared), source.clone());
        let flight = async move {
            let _landing = landing;
            shared.fetch(&source, &place).await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(place, (number, weak));
        }
        flight
    }
}

/// Takes a flight off the list when it ends, however it ends.
struct Landing {
    flights: Arc<Flights>,
    place: Place,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights
            .get(&self.place)
            .is_some_and(|(number, _)| *number == self.number)
        {
            flights.remove(&self.place);
        }
    }
}

impl Parts {
    async fn fetch(&self, source: &JarSource, place: &Place) -> Outcome {
        let at = source.uri.to_string();
        let limit = self.policy.deadline;
        let late = |_| ArtifactError::Deadline { at: at.clone(), limit };
        // Waiting for a turn is not the server's fault, so it does not count.
        let closed = |_: AcquireError| ArtifactError::disk(&at, &"the operator is stopping");
        let own = self.turns.of_namespace(&source.namespace);
        let _own = own.acquire().await.map_err(closed)?;
        let _turn = self.turns.all.acquire().await.map_err(closed)?;
        tokio::time::timeout(limit, self.ask(source, place, &at))
            .await
            .map_err(late)?
    }

    async fn ask(&self, source: &JarSource, place: &Place, at: &str) -> Outcome {
        let begun = Instant::now();
        let known = self.cache.known(place);
        let validator = known.as_ref().map(|(validator, _)| validator);
        let reply = match (&source.uri, &self.objects) {
            (JarUri::Http(url), _) => self.web.open(&source.namespace, url, validator).await?,
            (JarUri::S3 { bucket, key }, Some(objects)) => objects.open(bucket, key, validator).await?,
            (JarUri::S3 { .. }, None) => return Err(Denied::Bucket(at.to_owned()).into()),
        };
        let body = match (reply, known) {
            (Reply::NotModified, Some((validator, file))) => {
                debug!(namespace = source.namespace, artifact = at, "artifact has not changed");
                return Ok(Fetched {
                    file,
                    validator: Some(validator),
                    revalidated: true,
                });
            }
            // Not reached: only conditional requests are answered so.
            (Reply::NotModified, None) => return Err(ArtifactError::of_status(at, 304)),
            (Reply::Body(body), _) => body,
        };
        self.cache.forget(place);
        let validator = body.validator.clone();
        let (part, sha256) = receive(body, at, &self.cache, &self.policy).await?;
        let file = self
            .cache
            .keep(part, sha256, validator.clone().map(|validator| (*place, validator)));
        info!(
            namespace = source.namespace,
            artifact = at,
            bytes = file.size(),
            %sha256,
            seconds = begun.elapsed().as_secs_f64(),
            "fetched artifact"
        );
        Ok(Fetched {
            file,
            validator,
            revalidated: false,
        })
    }
}
