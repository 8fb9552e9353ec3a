//! Certificates of a throw-away authority.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The object identifier of an organisation, X.520. Names are a map in `rcgen`; a second organisation needs another
/// key.
const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key could not be generated.
    #[error("cannot make a certificate for {subject}: {source}")]
    Generate {
        /// The name in the certificate.
        subject: String,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// More groups than fit.
    #[error(
        "{subject} has {groups} groups; a certificate made here holds at most two, so bind roles to the user instead"
    )]
    TooManyGroups {
        /// The name in the certificate.
        subject: String,
        /// How many were asked for.
        groups: usize,
    },
}

fn failed(subject: &str) -> impl Fn(rcgen::Error) -> Error + '_ {
    move |source| Error::Generate {
        subject: subject.to_owned(),
        source,
    }
}

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

/// A certificate authority that lives as long as this value.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a new key.
    pub fn new(name: &str) -> Result<Self, Error> {
        let make = || {
            let mut params = params(name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        Ok(Self {
            issuer: make().map_err(failed(name))?,
        })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server that is reached as `127.0.0.1`, `localhost` and the given DNS names.
    pub fn server(&self, name: &str, dns: &[&str]) -> Result<Identity, Error> {
        let mut params = params(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        for dns in [&["localhost"], dns].concat() {
            let dns = dns.try_into().map_err(failed(name))?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        self.issue(name, &params)
    }

    /// A certificate for a client. Kubernetes reads the user from `name` and the groups, at most two, from the
    /// organisations.
    pub fn client(&self, name: &str, groups: &[&str]) -> Result<Identity, Error> {
        let mut params = params(name);
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
        if groups.len() > kinds.len() {
            return Err(Error::TooManyGroups {
                subject: name.to_owned(),
                groups: groups.len(),
            });
        }
        for (kind, group) in kinds.into_iter().zip(groups) {
            params.distinguished_name.push(kind, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, &params)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> Result<Identity, Error> {
        let make = || {
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok(Identity {
                certificate: certificate.pem(),
                key: key.serialize_pem(),
            })
        };
        make().map_err(failed(name))
    }
}

/// A private and a public key without a certificate, as Kubernetes uses them for the tokens of service accounts.
#[derive(Debug)]
pub struct Keys {
    /// PEM, PKCS #8.
    pub private: String,
    /// PEM.
    pub public: String,
}

impl Keys {
    /// A new pair.
    pub fn new() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(failed("service accounts"))?;
        Ok(Self {
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        })
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
