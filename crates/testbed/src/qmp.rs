//! QEMU's machine protocol (QMP), as far as faults need it: one command at a time.

use std::{io, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use crate::error::{Error, Result};

/// How long QEMU may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has the QEMU that listens on `socket` execute a command with these arguments, a JSON object; what
/// it returns.
pub async fn execute(socket: &Path, command: &str, arguments: &str) -> Result<Value> {
    let what = format!("QEMU, told to {command}");
    let arguments: Value = serde_json::from_str(arguments)
        .map_err(io::Error::from)
        .map_err(Error::io(what.clone()))?;
    let exchange = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let mut answer = Value::Null;
        for message in [
            json!({ "execute": "qmp_capabilities" }),
            json!({ "execute": command, "arguments": arguments }),
        ] {
            stream.write_all(format!("{message}\n").as_bytes()).await?;
            answer = next_answer(&mut stream).await?;
        }
        io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.map_err(io::Error::from).flatten();
    let answer = answer.map_err(Error::io(what.clone()))?;
    match answer.get("return") {
        Some(value) => Ok(value.clone()),
        None => Err(Error::Answer { what, answer: answer.to_string() }),
    }
}

/// The next line that is an answer: greetings and events are none.
async fn next_answer(stream: &mut BufReader<UnixStream>) -> io::Result<Value> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let value: Value = serde_json::from_str(&line)?;
        if value.get("return").is_some() || value.get("error").is_some() {
            return Ok(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn events_between_are_passed_over_and_errors_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let qemu = tokio::spawn(async move {
            for last in [r#"{"return": {"up": true}}"#, r#"{"error": {"desc": "no such link"}}"#] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let lines = ["{\"QMP\": {}}", "{\"return\": {}}", "{\"event\": \"RESET\"}", last];
                stream.write_all(lines.join("\r\n").as_bytes()).await.unwrap();
                stream.write_all(b"\r\n").await.unwrap();
                let mut asked = BufReader::new(stream).lines();
                asked.next_line().await.unwrap();
                assert!(asked.next_line().await.unwrap().unwrap().contains("set_link"));
            }
        });
        let arguments = r#"{"name": "net", "up": true}"#;
        let answer = execute(&path, "set_link", arguments).await.unwrap();
        assert_eq!(answer, json!({ "up": true }));
        let error = execute(&path, "set_link", arguments).await.unwrap_err().to_string();
        assert!(error.contains("set_link") && error.contains("no such link"), "{error}");
        qemu.await.unwrap();
    }
}
