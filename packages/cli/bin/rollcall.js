#!/usr/bin/env node
// A committed file, not a built one: package managers link a bin at install, when dist is not there yet.
import "../dist/main.js";
