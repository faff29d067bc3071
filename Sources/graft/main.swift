import Archives

// The process that HDF5 files from outside are read in; it does nothing else.
if CommandLine.arguments.count > 2, CommandLine.arguments[1] == IsolatedReader.subcommand {
    IsolatedReader.childMain(path: CommandLine.arguments[2], listing: CommandLine.arguments.contains("--list"))
}

print("graft")
