package main

import _ "time/tzdata" // inbox.zone: Windows has no time zones by IANA's names
