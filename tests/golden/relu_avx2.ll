define void @relu(ptr %x, ptr %y, i64 %n) #0 {
entry:
  br label %head1
head1:
  %i1 = phi i64 [0, %entry], [%v9, %body1]
  %v2 = icmp slt i64 %i1, %n
  br i1 %v2, label %body1, label %after1
body1:
  %v3 = mul nsw i64 %i1, 32
  %v4 = getelementptr i8, ptr %x, i64 %v3
  %v5 = load <8 x float>, ptr %v4, align 4
  %v6 = call <8 x float> @llvm.maximum.v8f32(<8 x float> %v5, <8 x float> splat (float 0x0000000000000000))
  %v7 = mul nsw i64 %i1, 32
  %v8 = getelementptr i8, ptr %y, i64 %v7
  store <8 x float> %v6, ptr %v8, align 4
  %v9 = add nsw i64 %i1, 1
  br label %head1, !llvm.loop !0
after1:
  ret void
}
