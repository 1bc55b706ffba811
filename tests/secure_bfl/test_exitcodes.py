"""Which error gives which exit code."""

import pytest

import ledger
from protocols import errors as protocol_errors
from secure_bfl import errors as edge_errors
from secure_bfl.exitcodes import ExitCode, code_of

CASES: list[tuple[Exception, ExitCode]] = [
    (protocol_errors.CapacityError("x"), ExitCode.USAGE),
    (ValueError("x"), ExitCode.USAGE),
    (protocol_errors.PrivacyError("x"), ExitCode.BUDGET),
    (edge_errors.ChainError("x"), ExitCode.CHAIN),
    (protocol_errors.QuorumError("x", needed=3, have=("a",), missing=("b",)), ExitCode.QUORUM),
    (ledger.QuorumError(needed=3, have=("a",), missing=("b",)), ExitCode.QUORUM),
    (edge_errors.OutputError("x"), ExitCode.OUTPUT),
    (ledger.StoreError("x"), ExitCode.OUTPUT),
    (ledger.DamagedStoreError("x"), ExitCode.CHAIN),
    (edge_errors.KeystoreError("x"), ExitCode.KEYSTORE),
    (PermissionError("x"), ExitCode.OUTPUT),
    (edge_errors.DatasetError("x"), ExitCode.DATASET),
    (protocol_errors.KeyGenerationError("x"), ExitCode.PEER),
    (protocol_errors.BadShareError("x"), ExitCode.PEER),
    (protocol_errors.DecodeError("x"), ExitCode.PEER),
    (ledger.DecodeError("x"), ExitCode.PEER),
    (ledger.SignatureError("x"), ExitCode.PEER),
    (ledger.BlobError("x", digest=bytes(32)), ExitCode.PEER),
    (edge_errors.RefusedError("x"), ExitCode.PEER),
    (edge_errors.StateError("x"), ExitCode.STATE),
    (ledger.StateError("x"), ExitCode.STATE),
    (protocol_errors.StateError("x"), ExitCode.STATE),
    (edge_errors.UnverifiedError("x"), ExitCode.FINDINGS),
]


@pytest.mark.parametrize(("error", "code"), CASES, ids=lambda value: f"{type(value).__module__}.{type(value).__name__}")
def test_errors_and_codes(error: Exception, code: ExitCode) -> None:
    assert code_of(error) is code


@pytest.mark.parametrize("error", [RuntimeError("x"), TypeError("x"), KeyError("x"), ZeroDivisionError("x")])
def test_a_defect_has_no_code(error: Exception) -> None:
    assert code_of(error) is None


def test_every_error_of_the_project_has_a_code() -> None:
    for module, base in (
        (protocol_errors, protocol_errors.ProtocolError),
        (edge_errors, edge_errors.EdgeError),
        (ledger, ledger.LedgerError),
    ):
        kinds = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
        assert len(kinds) > 5
        for kind in kinds:
            assert code_of(kind.__new__(kind)) is not None


def test_codes_are_told_apart() -> None:
    assert [int(code) for code in ExitCode] == sorted({int(code) for code in ExitCode})
    meanings = [code.meaning for code in ExitCode]
    assert len(set(meanings)) == len(ExitCode)
    assert all(meanings)


def test_edge_errors_name_culprits() -> None:
    assert edge_errors.EdgeError("x").culprits == ()
    assert edge_errors.RefusedError("x", culprits=("member-1",)).culprits == ("member-1",)
