// What DynamoDB, the AWS SDK and the network say, as Rollcall's errors: the one place where native errors are told apart.

import type { BatchStatementError } from "@aws-sdk/client-dynamodb";
import {
  type ErrorMeaning,
  isRollcallError,
  errorMeaning as meaning,
  nativeCode,
  networkMeanings,
  RollcallError,
} from "@rollcall/core";

const KEYS = meaning("access_denied", "AWS does not know these credentials, or their secret is wrong; correct them");
const EXPIRED = meaning("access_denied", "the credentials have expired; renew them");
const NO_CREDENTIALS = meaning(
  "access_denied",
  "no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
);
const NO_REGION = meaning(
  "invalid_request",
  "no region is set; put region= into the URL, or set AWS_REGION, or the region of the client",
);
const RIGHTS = meaning("access_denied", "a right is missing; grant it as the DynamoDB page says");
const NO_TABLE = meaning(
  "invalid_request",
  "the table does not exist in this region and account; check its name, the region and the endpoint, or open with createTable",
);
const FOREIGN = meaning(
  "layout_mismatch",
  "the table's key is not Rollcall's, a binary p and a binary s; use another table, or let createTable make it",
);
const TOO_LARGE = meaning(
  "store_full",
  "an item would exceed 400 KB; replace the segment, which cuts it into smaller blocks, or shorten its details",
);
const REQUEST_TOO_LARGE = meaning("invalid_request", "a request is too large for DynamoDB; send fewer members at once");
const LOAD = meaning(
  "store_unavailable",
  "DynamoDB throttles these requests; repeat later, or give the table or the account more capacity",
);
const COLLISION = meaning("store_unavailable", "another transaction was writing the same records; repeat");
const INTERNAL = meaning("store_unavailable", "DynamoDB failed on its side; repeat");
const SLOW = meaning("store_unavailable", "DynamoDB did not answer within timeoutMs; check it, then repeat");
const UNREACHABLE = meaning(
  "store_unavailable",
  "the connection broke or was never made; check the endpoint, repeat when it is reachable",
);
const NOT_READY = meaning("store_unavailable", "the table is being made, changed or deleted; repeat when it is active");
/** Anything else that the service has said. */
const REFUSED = meaning("store_unavailable", "DynamoDB refused the request (see the cause); repeat");

/** The name of what is thrown where a batch has left something over, which DynamoDB tells in its answer. */
export const LEFT_OVER = "UnprocessedKeys";

/** By the name of the error (docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html), or by Node's code. */
const MEANINGS: ReadonlyMap<string, ErrorMeaning> = new Map([
  ["AccessDeniedException", RIGHTS],
  ["ExpiredToken", EXPIRED],
  ["ExpiredTokenException", EXPIRED],
  ["TokenProviderError", EXPIRED],
  ["CredentialsProviderError", NO_CREDENTIALS],
  ["IncompleteSignature", KEYS],
  ["IncompleteSignatureException", KEYS],
  [
    "InvalidSignatureException",
    meaning(
      "access_denied",
      "the signature is wrong or too old; check the secret of the credentials, and the clock of this machine",
    ),
  ],
  ["InvalidClientTokenId", KEYS],
  ["MissingAuthenticationToken", NO_CREDENTIALS],
  ["MissingAuthenticationTokenException", NO_CREDENTIALS],
  ["UnrecognizedClientException", KEYS],
  ["OptInRequired", meaning("access_denied", "the account has not enabled this region; enable it, or use another")],
  ["AccessDeniedByKMS", meaning("access_denied", "the key of the table may not be used; grant kms:Decrypt on it")],
  ["ResourceNotFoundException", NO_TABLE],
  ["TableNotFoundException", NO_TABLE],
  ["ResourceInUseException", NOT_READY],
  [
    "LimitExceededException",
    meaning("store_unavailable", "too many tables are being made or changed at once; repeat later"),
  ],
  [
    "ItemCollectionSizeLimitExceededException",
    meaning("layout_mismatch", "the table has a local secondary index, which bounds its partitions; use another table"),
  ],
  ["ProvisionedThroughputExceededException", LOAD],
  ["RequestLimitExceeded", LOAD],
  ["ThrottlingException", LOAD],
  ["Throttling", LOAD],
  [LEFT_OVER, LOAD],
  ["TransactionConflictException", COLLISION],
  ["TransactionInProgressException", COLLISION],
  ["InternalServerError", INTERNAL],
  ["InternalServerErrorException", INTERNAL],
  ["InternalFailure", INTERNAL],
  ["ServiceUnavailable", INTERNAL],
  ["ServiceUnavailableException", INTERNAL],
  ["AbortError", SLOW],
  ["TimeoutError", SLOW],
  ...networkMeanings("name its authority in NODE_EXTRA_CA_CERTS"),
]);

/** What stands in the message where the name says too little. */
const BY_MESSAGE: readonly (readonly [words: RegExp, meaning: ErrorMeaning])[] = [
  [/Region is missing/i, NO_REGION],
  [/item size( to update)? has exceeded/i, TOO_LARGE],
  [
    /(key element|Key in the request|keys?) .*(match|conform).* schema|Type mismatch for key|Missing the key|conditions on the keys|required keys was not given/i,
    FOREIGN,
  ],
  [/expression .*size|request payload|body too large/i, REQUEST_TOO_LARGE],
  [/Could not load credentials|Resolved credential object is not valid/i, NO_CREDENTIALS],
];

/** Names that say the request had no effect because of others at the same time. */
const FOR_LOAD: ReadonlySet<string> = new Set(
  [...MEANINGS].flatMap(([name, { what }]) => (what === LOAD.what || what === COLLISION.what ? name : [])),
);

/** An error in the answer to one statement of a batch, as if it were that of a request. */
export function statementError({ Code: code, Message: message }: BatchStatementError): Error {
  const name = CODES_OF_STATEMENTS.get(String(code)) ?? String(code);
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode: 400 } });
}

/** The names of requests' errors where a statement's code is another word (BatchStatementErrorCodeEnum). */
const CODES_OF_STATEMENTS: ReadonlyMap<string, string> = new Map([
  ["AccessDenied", "AccessDeniedException"],
  ["ItemCollectionSizeLimitExceeded", "ItemCollectionSizeLimitExceededException"],
  ["ProvisionedThroughputExceeded", "ProvisionedThroughputExceededException"],
  ["ResourceNotFound", "ResourceNotFoundException"],
  ["ThrottlingError", "ThrottlingException"],
  ["TransactionConflict", "TransactionConflictException"],
]);

/** Why each item of a transaction that was cancelled was refused: `None`, `ConditionalCheckFailed`, `TransactionConflict`, … */
export function cancellationCodes(cause: unknown): string[] {
  if (nameOf(cause) !== "TransactionCanceledException") return [];
  const { CancellationReasons: reasons } = cause as { CancellationReasons?: readonly { readonly Code?: string }[] };
  return (reasons ?? []).map(({ Code }) => Code ?? "None");
}

/** Whether there is no such table. */
export function isTableMissing(error: unknown): boolean {
  return nameOf(isRollcallError(error) ? error.cause : error) === "ResourceNotFoundException";
}

/** Whether a condition of the request was not met. */
export function isConditionFailure(cause: unknown): boolean {
  return nameOf(cause) === "ConditionalCheckFailedException";
}

/** Whether `cause`, native or not, says that the request had no effect because there were too many at once. */
export function isRefusedForLoad(cause: unknown): boolean {
  const native = isRollcallError(cause) ? cause.cause : cause;
  const codes = cancellationCodes(native).filter((code) => code !== "None");
  if (codes.length > 0) return codes.every((code) => CANCELLED_FOR_LOAD.has(code));
  return FOR_LOAD.has(nameOf(native));
}

const CANCELLED_FOR_LOAD: ReadonlySet<string> = new Set([
  "TransactionConflict",
  "ThrottlingError",
  "ProvisionedThroughputExceeded",
]);

/** The error to throw instead of `cause`; one that is a `RollcallError` already stays as it is. */
export function storeError(cause: unknown): RollcallError {
  if (isRollcallError(cause)) return cause;
  const { code, what } = meaningOf(cause);
  return new RollcallError(code, `DynamoDB: ${what}${actionIn(cause)}`, { cause });
}

function meaningOf(cause: unknown): ErrorMeaning {
  const message = cause instanceof Error ? cause.message : "";
  const spoken = BY_MESSAGE.find(([words]) => words.test(message))?.[1];
  if (spoken !== undefined) return spoken;
  const codes = cancellationCodes(cause);
  if (codes.some((code) => CANCELLED_FOR_LOAD.has(code)))
    return codes.includes("TransactionConflict") ? COLLISION : LOAD;
  const known = MEANINGS.get(nameOf(cause)) ?? MEANINGS.get(nativeCode(cause));
  if (known !== undefined) return known;
  const status = statusOf(cause);
  if (status === undefined) return UNREACHABLE;
  return status >= 500 ? INTERNAL : REFUSED;
}

/** AWS names the action that is not allowed, and the table; beside them it names account and user, which are left out. */
function actionIn(cause: unknown): string {
  if (nameOf(cause) !== "AccessDeniedException" || !(cause instanceof Error)) return "";
  const action = /perform: ([a-z]+:[A-Za-z]+)/.exec(cause.message)?.[1];
  return action === undefined ? "" : ` (${action})`;
}

function nameOf(cause: unknown): string {
  return cause instanceof Error ? cause.name : "";
}

function statusOf(cause: unknown): number | undefined {
  const { $metadata } = Object(cause) as { readonly $metadata?: { readonly httpStatusCode?: number } };
  return $metadata?.httpStatusCode;
}
