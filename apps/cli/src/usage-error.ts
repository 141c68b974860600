/** What the user wrote or typed is wrong; the message says where. */
export class UsageError extends Error {}
