// What every refusal must be is the same for every adapter.

export { codeOf, expectRefusal, findSecrets, type Refusal } from "@rollcall/conformance";
