// Every native error that is told apart, by its code and its remedy. What the service really sends is in the integration tests.

import { DynamoDBServiceException } from "@aws-sdk/client-dynamodb";
import { RollcallError } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { cancellationCodes, isConditionFailure, isRefusedForLoad, storeError } from "./native-error.js";

function native(name: string, message = "said so", more: object = {}): Error {
  const error = new DynamoDBServiceException({ name, message, $fault: "client", $metadata: { httpStatusCode: 400 } });
  return Object.assign(error, more);
}

const cancelled = (...codes: string[]) =>
  native("TransactionCanceledException", "cancelled", { CancellationReasons: codes.map((Code) => ({ Code })) });

describe("storeError", () => {
  it.each([
    ["ResourceNotFoundException", "invalid_request", /table does not exist.*createTable/],
    ["ExpiredTokenException", "access_denied", /expired; renew/],
    ["CredentialsProviderError", "access_denied", /AWS_PROFILE/],
    ["UnrecognizedClientException", "access_denied", /correct/],
    ["InvalidSignatureException", "access_denied", /secret.*clock/],
    ["MissingAuthenticationTokenException", "access_denied", /AWS_ACCESS_KEY_ID/],
    ["OptInRequired", "access_denied", /region/],
    ["ProvisionedThroughputExceededException", "store_unavailable", /capacity/],
    ["ThrottlingException", "store_unavailable", /capacity/],
    ["RequestLimitExceeded", "store_unavailable", /capacity/],
    ["TransactionConflictException", "store_unavailable", /repeat/],
    ["InternalServerError", "store_unavailable", /repeat/],
    ["ServiceUnavailable", "store_unavailable", /repeat/],
    ["ResourceInUseException", "store_unavailable", /active/],
    ["ItemCollectionSizeLimitExceededException", "layout_mismatch", /another table/],
    ["TimeoutError", "store_unavailable", /timeoutMs/],
    ["SomethingNewException", "store_unavailable", /cause/],
  ] as const)("%s is %s", (name, code, remedy) => {
    const error = storeError(native(name));
    expect(error).toBeInstanceOf(RollcallError);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(remedy);
    expect((error.cause as Error).name).toBe(name);
  });

  it.each([
    ["Item size has exceeded the maximum allowed size", "store_full", /replace the segment/],
    ["Item size to update has exceeded the maximum allowed size", "store_full", /replace the segment/],
    ["The provided key element does not match the schema", "layout_mismatch", /another table/],
    ["One or more parameter values were invalid: Missing the key id in the item", "layout_mismatch", /another table/],
  ] as const)("a ValidationException that says: %s", (message, code, remedy) => {
    const error = storeError(native("ValidationException", message));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(remedy);
  });

  it("names the action that is not allowed, and neither account nor user", () => {
    const said =
      "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: dynamodb:UpdateItem on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/rollcall because no identity-based policy allows the dynamodb:UpdateItem action";
    const error = storeError(native("AccessDeniedException", said));
    expect(error.code).toBe("access_denied");
    expect(error.message).toMatch(/grant.*\(dynamodb:UpdateItem\)$/);
    expect(error.message).not.toMatch(/123456789012|ada/);
  });

  it("names a region that is missing", () => {
    expect(storeError(new Error("Region is missing"))).toMatchObject({ code: "invalid_request" });
  });

  it.each([
    ["ECONNREFUSED", /nothing listens/],
    ["ENOTFOUND", /host name/],
    ["ECONNRESET", /reachable/],
  ])("%s is store_unavailable", (code, remedy) => {
    const error = storeError(Object.assign(new Error(code), { code }));
    expect(error.code).toBe("store_unavailable");
    expect(error.message).toMatch(remedy);
  });

  it("leaves a RollcallError as it is", () => {
    const error = new RollcallError("closed", "closed");
    expect(storeError(error)).toBe(error);
  });
});

describe("isRefusedForLoad", () => {
  it.each([
    [native("ThrottlingException"), true],
    [storeError(native("ProvisionedThroughputExceededException")), true],
    [cancelled("None", "TransactionConflict"), true],
    [cancelled("ThrottlingError"), true],
    // One of them says more than that there were too many.
    [cancelled("ConditionalCheckFailed", "TransactionConflict"), false],
    [cancelled("ConditionalCheckFailed"), false],
    [native("InternalServerError"), false],
    [native("TimeoutError"), false],
    [Object.assign(new Error("reset"), { code: "ECONNRESET" }), false],
  ])("%s: %s", (error, expected) => {
    expect(isRefusedForLoad(error)).toBe(expected);
  });
});

it("conditions that were not met are told from what else there is", () => {
  expect(isConditionFailure(native("ConditionalCheckFailedException"))).toBe(true);
  expect(isConditionFailure(native("ValidationException"))).toBe(false);
  expect(cancellationCodes(cancelled("None", "ConditionalCheckFailed"))).toEqual(["None", "ConditionalCheckFailed"]);
  expect(cancellationCodes(native("ValidationException"))).toEqual([]);
});
