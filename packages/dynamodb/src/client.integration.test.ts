// Every promise of the port in a table of DynamoDB Local, through a client of the caller's.
import { conformance } from "@rollcall/conformance";
import { createDynamoDbStore } from "./index.js";
import { clientOf, dropTable, newTable } from "./place.test-setup.js";

const client = clientOf();

conformance("@rollcall/dynamodb on DynamoDB Local", {
  async createDatabase() {
    const table = newTable();
    return {
      createStore: (environment) => createDynamoDbStore(client, { environment, table, createTable: true }),
      dispose: () => dropTable(table),
    };
  },
});
