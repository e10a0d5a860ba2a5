// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Signing} from "../src/Signing.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Script} from "forge-std/Script.sol";

/// @title Deploys the contracts as `contracts/bindings/src/deploy.rs` does: to the same addresses
/// @notice PARAMETERS names a file as `script/parameters.json`, ADDRESSES the file to write, both in this folder:
/// `PARAMETERS=script/parameters.json ADDRESSES=cache/addresses.json contracts/forge script script/Deploy.s.sol
/// --rpc-url URL --private-key KEY --broadcast`. What is there already is left as it is. The bytecode is that of
/// `artifacts/`: compiled among others, with their optimizer settings, the sources would give another.
contract Deploy is Script {
    error NoFactory();
    error NotDeployed(string name);

    address private constant FACTORY = 0x4e59b44847b379578588920cA78FbF26c0B4956C;
    bytes32 private constant SALT = keccak256("earnest.v1");

    string private _json;

    function run() external {
        _json = vm.readFile(vm.envString("PARAMETERS"));
        if (FACTORY.code.length == 0) revert NoFactory();
        bytes4 version = bytes4(vm.parseJsonBytes(_json, ".genesis_fork_version"));
        uint64 genesisMs = uint64(_number(".genesis_ms"));
        uint64 slotMs = uint64(_number(".slot_ms"));

        vm.startBroadcast();
        address inbox = _make("Inbox", abi.encode(version));
        address registry = _make("Registry", abi.encode(_registryConfig(version)));
        address rollups = _make(
            "RollupRegistry",
            abi.encode(
                vm.parseJsonAddress(_json, ".registrar"), genesisMs, slotMs, uint64(_number(".notice_slots"))
            )
        );
        address slasher = _make(
            "OrderingSlasher",
            abi.encode(registry, rollups, inbox, version, genesisMs, slotMs, _slasherConfig())
        );
        address market = _make(
            "OrderingMarket",
            abi.encode(
                registry,
                rollups,
                inbox,
                version,
                genesisMs,
                slotMs,
                uint32(_number(".market.horizon_seconds")),
                uint32(_number(".market.withdrawal_delay_seconds"))
            )
        );
        vm.stopBroadcast();

        vm.serializeAddress("addresses", "Inbox", inbox);
        vm.serializeAddress("addresses", "Registry", registry);
        vm.serializeAddress("addresses", "RollupRegistry", rollups);
        vm.serializeAddress("addresses", "OrderingSlasher", slasher);
        string memory addresses = vm.serializeAddress("addresses", "OrderingMarket", market);
        vm.writeJson(addresses, vm.envString("ADDRESSES"));
    }

    function _registryConfig(bytes4 version) private view returns (IRegistry.Config memory) {
        return IRegistry.Config({
            minCollateralWei: uint80(_number(".registry.min_collateral_wei")),
            fraudProofWindow: uint32(_number(".registry.fraud_proof_window")),
            unregistrationDelay: uint32(_number(".registry.unregistration_delay")),
            slashWindow: uint32(_number(".registry.slash_window")),
            optInDelay: uint32(_number(".registry.opt_in_delay")),
            signingDomain: Signing.domain(version),
            chainId: Signing.littleEndian(_number(".chain_id"))
        });
    }

    function _slasherConfig() private view returns (IOrderingSlasher.Config memory) {
        return IOrderingSlasher.Config({
            safetyWei: uint80(_number(".slasher.safety_wei")),
            livenessWei: uint80(_number(".slasher.liveness_wei")),
            bondWei: uint80(_number(".slasher.bond_wei")),
            answerSeconds: uint32(_number(".slasher.answer_seconds")),
            concludeSeconds: uint32(_number(".slasher.conclude_seconds")),
            evidenceSeconds: uint32(_number(".slasher.evidence_seconds")),
            constraintCutoffMs: uint32(_number(".slasher.constraint_cutoff_ms"))
        });
    }

    function _number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(_json, key);
    }

    function _make(string memory name, bytes memory arguments) private returns (address made) {
        string memory artifact = vm.readFile(string.concat("artifacts/", name, ".json"));
        bytes memory initCode = bytes.concat(vm.parseJsonBytes(artifact, ".bytecode.object"), arguments);
        made = vm.computeCreate2Address(SALT, keccak256(initCode), FACTORY);
        if (made.code.length != 0) return made;
        (bool done,) = FACTORY.call(bytes.concat(SALT, initCode));
        if (!done || made.code.length == 0) revert NotDeployed(name);
    }
}
