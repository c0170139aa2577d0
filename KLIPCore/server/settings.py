"""The settings of a server, declared once like those of a run."""

from __future__ import annotations

from dataclasses import dataclass

from KLIPCore.declare import Section, documented, require, setting


@documented
@dataclass(frozen=True)
class ServerSettings(Section):
    """Where a server listens, what it takes and how long it keeps it."""

    host: str = setting(
        "127.0.0.1",
        "address",
        "Address to listen at; 0.0.0.0 is every network of this computer.",
        "On loopback nobody but this computer's users gets in, so no token and no certificate are needed.",
        option="--host",
    )
    port: int = setting(8443, "port", "Port to listen at; 0 takes a free one.", ge=0, le=65535, option="--port")
    folder: str = setting(
        "klip-server", "folder", "Folder for jobs and the generated token; made when missing.", option="--folder"
    )
    token_file: str | None = setting(
        None,
        "token file",
        "File that holds the token; made with a new one when missing.",
        "A token on the command line could be read by every user of the computer.",
        unset="KLIP_TOKEN from the environment, else FOLDER/token; none on loopback",
        option="--token-file",
    )
    certificate: str | None = setting(
        None, "certificate", "TLS certificate with its chain, PEM.", unset="no TLS", option="--certificate"
    )
    key: str | None = setting(
        None, "private key", "Its private key, PEM.", unset="in the certificate's file", option="--key"
    )
    device: str = setting("auto", "device", "Device that jobs run on, as klip detect takes it.", option="--device")
    max_upload_gb: float = setting(
        4.0, "largest study", "Largest study that is taken.", unit="GB", gt=0, option="--max-upload"
    )
    max_files: int = setting(
        20_000, "number of files", "Most files of a study.", unit="files", ge=1, le=20_000, option="--max-files"
    )
    max_jobs: int = setting(
        20, "number of jobs", "Jobs that may wait, arrive or run at once.", unit="jobs", ge=1, option="--max-jobs"
    )
    max_sessions: int = setting(
        64, "number of sessions", "Connections that may be open at once.", unit="connections", ge=2, le=10_000,
        option="--max-sessions",
    )  # fmt: skip
    requests_per_minute: int = setting(
        3000,
        "request rate",
        "Requests that one client's address may make.",
        "A study of 1000 slices takes about 1200 in all.",
        unit="requests per minute",
        ge=10,
        option="--rate",
    )
    min_free_gb: float = setting(
        2.0, "free space", "Disk space that is left free whatever is sent.", unit="GB", ge=0, option="--min-free"
    )
    keep_uploads_h: float = setting(
        1.0,
        "time of uploads",
        "How long a study is kept after its job has ended, or after its last byte where it never arrived whole.",
        "Long enough to run a failed job again without sending the study again.",
        unit="hours",
        ge=0,
        option="--keep-uploads",
    )
    keep_results_h: float = setting(
        168.0, "time of results", "How long results are kept after a job has ended.", unit="hours", ge=0,
        option="--keep-results",
    )  # fmt: skip

    def check(self) -> None:
        """Refuse a key without a certificate; see :class:`KLIPCore.errors.ConfigError`."""
        require(
            self.key is None or self.certificate is not None,
            "A private key alone gives no TLS.",
            "Give the certificate with --certificate.",
        )
        require(
            self.keep_results_h >= self.keep_uploads_h,
            "Results would be deleted before the studies they belong to.",
            "Give --keep-results at least the hours of --keep-uploads.",
        )
