"""Commands that speak for the server they run on, with its agent's own certificate."""

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure


def myself(cli: CliContext) -> tuple[str, str]:
    """(name, boot id) of this server; the agent's own certificate is chosen, for not every server
    has an administrator's."""
    from clusterctl.settings import Settings, Tls
    from reconciler.config import DEFAULT_CONFIG, load_config

    config = load_config(DEFAULT_CONFIG)
    try:
        boot_id = config.boot_id_file.read_text().strip()
    except OSError as error:
        raise Failure(
            f"{config.boot_id_file}: {error.strerror}; has the agent run since the start?",
            ExitCode.FAILED,
        ) from error
    files = Tls(str(config.ca_file), str(config.certificate_file), str(config.key_file))
    settings = Settings(config.cluster, config.endpoints, files, cli.choice.timeout_s)
    cli.fixed = settings
    return config.server, boot_id
