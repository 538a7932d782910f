//! The client alone: polls one after the other, the simulated clusters in a process of their own.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use qumulo_encryption_exporter::{
    client::{
        Client, ClientSettings, Credential, Pin, ProxySettings, SecretSource, TlsSettings, TransportPool,
        TransportSettings,
    },
    clock,
};

const CLUSTERS: usize = 50;
const ROUNDS: usize = 100;

/// CPU time of a warm poll in microseconds: request, TLS, JSON, model.
pub async fn warm(folder: &Path) -> f64 {
    let fleet = folder.join("fleet.yml");
    let one = |number| format!("- {{name: c{number}, type: KMS, status: KMS Available, ca_cert_expiry: +9d}}\n");
    fs::write(&fleet, "clusters:\n".to_owned() + &(0..CLUSTERS).map(one).collect::<String>()).unwrap();
    let output = folder.join("clusters.yml");
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_qumulo-encryption-exporter"))
        .args(["simulate", "--log.level", "error", "--fleet"])
        .arg(&fleet)
        .stdout(fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    while fs::read_to_string(&output).unwrap().matches("pin_sha256").count() < CLUSTERS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut clients = clients(&fs::read_to_string(&output).unwrap(), folder);
    round(&mut clients).await;
    let before = cpu();
    for _ in 0..ROUNDS {
        round(&mut clients).await;
    }
    let used = cpu() - before;
    simulator.kill().unwrap();
    simulator.wait().unwrap();
    used.as_secs_f64() * 1e6 / (CLUSTERS * ROUNDS) as f64
}

async fn round(clients: &mut [Client]) {
    for client in clients {
        client.poll(clock::now().mono).await.unwrap();
    }
}

/// Clients for what `simulate` describes. The tokens are read from files, as they are in earnest.
fn clients(description: &str, folder: &Path) -> Vec<Client> {
    let pool = Arc::<TransportPool>::default();
    let value = |block: &str, key: &str| {
        let rest = block.split(&format!("{key}: \"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let client = |(number, block): (usize, &str)| {
        let token = folder.join(format!("token-{number}"));
        fs::write(&token, value(block, "token")).unwrap();
        let pins = vec![value(block, "pin_sha256").parse::<Pin>().unwrap()];
        let transport = TransportSettings {
            connect_timeout: Duration::from_secs(5),
            proxy: ProxySettings::Direct,
            tls: Some(TlsSettings { pins, ..TlsSettings::default() }),
        };
        let settings = ClientSettings {
            credential: Credential::Token(SecretSource::File(token.into())),
            kms_probe: None,
            transport,
            timeout: Duration::from_secs(10),
            url: value(block, "url").parse().unwrap(),
        };
        Client::new(settings, pool.clone())
    };
    description.split("- name: ").skip(1).enumerate().map(client).collect()
}

/// CPU time of this thread, which is the only one that works.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
