// A server whose disk is full in the middle of a sync: for its tables, and for its own log, without which it cannot live.

import { startPostgresServer } from "@rollcall/conformance/containers";
import {
  brokenServer,
  expectApplied,
  expectRefused,
  fullFaults,
  MODES,
  quickRollcall,
  startLine,
  sync,
  syncHeld,
} from "@rollcall/conformance/faults";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { reaching } from "./fault-line.test-setup.js";

describe("a full disk", () => {
  const { server } = brokenServer(() =>
    startPostgresServer({
      diskMegabytes: 192,
      // Nobody makes room behind the back of the tests, or keeps some for the log.
      settings: { autovacuum: "off", wal_recycle: "off", min_wal_size: "32MB", max_wal_size: "64MB" },
    }),
  );
  const harness = reaching(server, { schema: "rollcall" });
  let occupant: pg.Client | undefined;

  fullFaults({
    ...harness,
    async takeRoom(mode) {
      const { host, port, user, password, database } = server();
      occupant = new pg.Client({ host, port, user, password, database });
      await occupant.connect();
      // A new file for the log first, so that the server does not need one while there is no room. And after the checkpoint: a file that this
      // removed would make room only when the last connection that has it open writes again.
      await occupant.query("CHECKPOINT");
      await occupant.query("SELECT pg_switch_wal()");
      // Pages that the table has in reserve are taken…
      await occupant.query(`
        INSERT INTO rollcall.rollcall_blocks (set_id, shard, filter, members)
        SELECT 0, shard, 0::bit(512), ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 480)) FROM generate_series(1, 100) shard`);
      if (mode === "merge") {
        // …and so is what is free on the others: as long as this transaction is open a row that was replaced keeps its room.
        await occupant.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
        await occupant.query("SELECT 1");
        for (let time = 0; time < 3; time++)
          await server().psql("UPDATE rollcall.rollcall_blocks SET members = members WHERE set_id > 0");
      }
      await server().fillDisk();
    },
    async giveRoom() {
      await server().freeDisk();
      await occupant?.query("ROLLBACK");
      await occupant?.query("DELETE FROM rollcall.rollcall_blocks WHERE set_id = 0");
      await occupant?.end();
      occupant = undefined;
    },
  });

  it.each(MODES)("may end the server during a %s, which is repeated when there is room", async (mode) => {
    await using line = await startLine(harness, mode);
    const { store, trial, reader } = line;
    const fillForLog = async () => {
      await server().fillDisk();
      await server()
        .psql("SELECT pg_switch_wal()")
        .catch(() => "");
    };
    try {
      const outcome = await syncHeld(store, trial, fillForLog, { retry: { retries: 1 } });
      // It may still say why.
      expectRefused(outcome, "store_unavailable", "store_full");
      await expect(server().psql("CREATE TABLE more (x int)")).rejects.toThrow();
      await reader.look();
    } finally {
      await server().freeDisk();
      await server().kill();
      await server().start();
    }
    expectApplied(await sync(quickRollcall(store), trial));
    await line.expectEnd();
  });
});
