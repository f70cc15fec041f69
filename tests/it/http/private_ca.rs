//! Commands over HTTPS with a certificate that a private CA has issued.
//!
//! `tests/fixtures/tls` holds two CA certificates, and a certificate for `localhost` with its key that the first one
//! has issued. The keys of the CAs were thrown away.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::Api;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// Serves `api` over TLS, as a reverse proxy does; returns the port.
async fn tls(api: &Api) -> u16 {
    let certificate = CertificateDer::from_pem_file(fixture("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = api.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut upstream = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    port
}

async fn health(url: String, ca_file: Option<PathBuf>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(["health", "--server", &url]).env_remove("VGPO_CA_FILE");
    command.envs(ca_file.map(|file| ("VGPO_CA_FILE", file)));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> &str {
    assert!(!output.status.success());
    std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_trust_a_private_ca_that_they_are_given() {
    let api = Api::start().await;
    let port = tls(&api).await;
    for host in ["localhost", "127.0.0.1"] {
        let trusted = health(format!("https://{host}:{port}"), Some(fixture("ca.pem"))).await;
        assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
        assert_eq!(trusted.stdout, b"ready\n");
    }
    let unknown = health(format!("https://localhost:{port}"), None).await;
    let told = told(&unknown);
    assert!(told.contains("is not trusted") && told.contains("VGPO_CA_FILE") && told.contains("localhost"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_vouches_for_its_own_certificates_alone() {
    let api = Api::start().await;
    let port = tls(&api).await;
    let other = health(format!("https://localhost:{port}"), Some(fixture("other_ca.pem"))).await;
    assert!(told(&other).contains("is not trusted"), "{}", told(&other));
    // An address that the certificate does not have.
    let name = health(format!("https://127.0.0.2:{port}"), Some(fixture("ca.pem"))).await;
    assert!(told(&name).contains("is not trusted") && told(&name).contains("127.0.0.2"), "{}", told(&name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_cannot_be_used_is_named() {
    let api = Api::start().await;
    for (file, problem) in [("localhost.key", "it holds no certificate"), ("none.pem", "No such file")] {
        let output = health("https://localhost:1".to_owned(), Some(fixture(file))).await;
        let told = told(&output);
        assert!(told.contains("VGPO_CA_FILE") && told.contains(file) && told.contains(problem), "{told}");
        // Without TLS the file is not needed.
        assert!(health(api.url.clone(), Some(fixture(file))).await.status.success());
    }
}
