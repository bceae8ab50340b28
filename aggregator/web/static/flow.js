// The curves of one connection to another system.
import { $ } from "./base.js";
import { follow } from "./chart.js";
const host = $("flow");
if (host) follow([...host.querySelectorAll(".chart")], () => `/ui/flow?of=${encodeURIComponent(host.dataset.flow)}`, 60000, $("noflow"));
